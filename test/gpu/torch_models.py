# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What run --benchmark compares with: models in plain torch, from which the ONNX files of Snug and ONNX Runtime are exported, too.

Weights come from a seed, so that those of a machine without a GPU, where models are compiled, and of one with a GPU are the same.
Attention is torch's scaled_dot_product_attention, or spelled out (`eager`), as models did before there was one."""
from dataclasses import dataclass
from typing import Callable

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Softmax(q k^T / sqrt(d) + bias) v of [batch, heads, rows, d]; fewer heads of keys than of queries are shared."""
    eager = False

    def forward(self, q, k, v, causal=False, bias=None):
        if not self.eager:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])
        if q.shape[1] != k.shape[1]:
            k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if bias is not None:
            scores = scores + bias
        if causal:
            rows = torch.arange(q.shape[2], device=q.device)
            scores = scores.masked_fill(rows[:, None] < rows, float("-inf"))
        return scores.softmax(-1) @ v


class Encoder(nn.Module):
    """GPT-2's and ViT's layer: norms before, GELU, biases."""

    def __init__(self, width, heads, causal):
        super().__init__()
        self.heads, self.causal, self.attention = heads, causal, Attention()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(self.attention(q, k, v, self.causal).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Vit(nn.Module):
    def __init__(self, width, heads, layers, patch):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.layers = nn.Sequential(*(Encoder(width, heads, False) for _ in range(layers)))

    def forward(self, image):
        return self.layers(self.patches(image).flatten(2).transpose(1, 2))


class Llama(nn.Module):
    """One layer: RMS norms, rotary positions, shared heads of keys, SwiGLU; with caches, a step of decoding."""

    def __init__(self, width, heads, kv_heads, inner):
        super().__init__()
        self.heads, self.kv_heads, self.head, self.attention = heads, kv_heads, width // heads, Attention()
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, kv_heads * self.head, bias=False) for _ in range(2))
        self.gate, self.up, self.down = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False), nn.Linear(inner, width, bias=False)

    def turned(self, x, cos, sin):
        low, high = x.chunk(2, -1)
        return torch.cat([low * cos - high * sin, high * cos + low * sin], -1)

    def forward(self, x, cos, sin, keys=None, values=None):
        y = self.norm1(x)
        q, k, v = (to(y).unflatten(-1, (-1, self.head)).transpose(1, 2) for to in (self.q, self.k, self.v))
        q, k = self.turned(q, cos, sin), self.turned(k, cos, sin)
        all_k, all_v = (k, v) if keys is None else (torch.cat([keys, k], 2), torch.cat([values, v], 2))
        x = x + self.o(self.attention(q, all_k, all_v, keys is None).transpose(1, 2).flatten(2))
        y = self.norm2(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return x if keys is None else (x, k, v)


class Triangle(nn.Module):
    """AlphaFold's triangular update and attention around starting nodes, of pairs [batch, n, n, width]."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.attention = heads, Attention()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.ab, self.gates, self.gate, self.out1 = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width), nn.Linear(width, width), nn.Linear(width, width)
        self.qkv, self.bias, self.gate2, self.out2 = (nn.Linear(width, 3 * width, bias=False), nn.Linear(width, heads, bias=False),
                                                      nn.Linear(width, width), nn.Linear(width, width))

    def forward(self, z):
        y = self.norm1(z)
        a, b = (self.ab(y) * self.gates(y).sigmoid()).chunk(2, -1)
        z = z + self.out1(self.norm2(torch.einsum("bikc,bjkc->bijc", a, b))) * self.gate(y).sigmoid()
        y = self.norm3(z)
        q, k, v = self.qkv(y).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5).flatten(1, 2)
        bias = self.bias(y).permute(0, 3, 1, 2).repeat_interleave(z.shape[1], 0)
        y = self.attention(q, k, v, bias=bias).transpose(1, 2).flatten(2).unflatten(0, z.shape[:2]) * self.gate2(y).sigmoid()
        return z + self.out2(y)


class Residual(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, a), nn.GroupNorm(32, b)
        self.conv1, self.conv2, self.skip = nn.Conv2d(a, b, 3, padding=1), nn.Conv2d(b, b, 3, padding=1), nn.Conv2d(a, b, 1)

    def forward(self, x):
        return self.skip(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Unet(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.enter = nn.Conv2d(4, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Residual(a, b) for a, b in zip(widths, widths[1:]))
        self.up = nn.ModuleList(Residual(2 * b, a) for a, b in zip(widths, widths[1:]))
        self.leave = nn.Conv2d(widths[0], 4, 3, padding=1)

    def forward(self, x):
        x, kept = self.enter(x), []
        for block in self.down:
            x = block(x)
            kept.append(x)
            x = F.avg_pool2d(x, 2)
        for block, skip in zip(reversed(self.up), reversed(kept)):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), skip], 1))
        return self.leave(x)


@dataclass
class Model:
    make: Callable       # the module
    inputs: Callable     # (size) -> [(name, shape)]
    outputs: tuple
    sizes: tuple         # what a user would run


def rows(width):
    return lambda size: [("x", (1, size, width))]


def llama_inputs(size):
    return [("x", (1, size, 1024)), ("cos", (size, 64)), ("sin", (size, 64))]


def decode_inputs(size):
    return [("x", (8, 1, 1024)), ("cos", (1, 64)), ("sin", (1, 64)), ("keys", (8, 2, size, 128)), ("values", (8, 2, size, 128))]


MODELS = {
    "gpt2": Model(lambda: nn.Sequential(Encoder(768, 12, True), Encoder(768, 12, True)), rows(768), ("y",), (2048, 8192, 32768)),
    "llama": Model(lambda: Llama(1024, 8, 2, 2816), llama_inputs, ("y",), (2048, 8192, 32768)),
    "llama_decode": Model(lambda: Llama(1024, 8, 2, 2816), decode_inputs, ("y", "key", "value"), (2048, 32768)),
    "vit": Model(lambda: Vit(768, 12, 2, 16), lambda size: [("image", (1, 3, size, size))], ("y",), (1024,)),
    "triangle": Model(lambda: Triangle(128, 4), lambda size: [("z", (1, size, size, 128))], ("y",), (512, 1024)),
    "unet": Model(lambda: Unet((64, 128, 256)), lambda size: [("x", (1, 4, size, size))], ("y",), (128, 512)),
}


def module_of(name, dtype, eager=False):
    torch.manual_seed(0)
    module = MODELS[name].make().to(dtype).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, Attention):
            part.eager = eager
    return module


def inputs_of(name, size, dtype, device="cpu"):
    """Seeded, and the same on every device."""
    generator = torch.Generator().manual_seed(1)
    return {key: torch.randn(shape, generator=generator).to(dtype).to(device) for key, shape in MODELS[name].inputs(size)}
