# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The architectures that exporters write differently, each as narrow as its layers allow: what graphs in families/ are made of."""
from unittest import mock

import torch
from torch import nn

from cases import Case, Function, example, text

VOCABULARY = 256


def narrow_llama():
    from transformers import LlamaConfig, LlamaForCausalLM
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, hidden_size=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
                                        vocab_size=VOCABULARY, max_position_embeddings=512, attn_implementation="sdpa"))


def llama_half():
    return Case(Function(narrow_llama().half(), lambda m, ids, mask: m(input_ids=ids, attention_mask=mask, use_cache=False).logits), text(), ["logits"])


def llama_positions():
    """With positions as an input the exporter writes Attention, RMSNormalization and RotaryEmbedding."""
    inputs = {**text(), "position_ids": example("batch", "seq", integers=True)}
    return Case(Function(narrow_llama(), lambda m, ids, mask, positions: m(input_ids=ids, attention_mask=mask, position_ids=positions,
                                                                          use_cache=False).logits), inputs, ["logits"])


def t5():
    from transformers import T5Config, T5EncoderModel
    net = T5EncoderModel(T5Config(d_model=64, d_kv=16, num_layers=2, num_heads=4, d_ff=128, vocab_size=VOCABULARY, attn_implementation="sdpa"))
    return Case(Function(net, lambda m, ids, mask: m(input_ids=ids, attention_mask=mask).last_hidden_state), text(), ["last_hidden_state"])


def mixtral():
    from transformers import MixtralConfig, MixtralForCausalLM
    net = MixtralForCausalLM(MixtralConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
                                           num_local_experts=4, num_experts_per_tok=2, vocab_size=VOCABULARY, experts_implementation="batched_mm"))
    return Case(Function(net, lambda m, ids, mask: m(input_ids=ids, attention_mask=mask, use_cache=False).logits), text(), ["logits"])


def whisper(layers=2, width=32, heads=2, ffn=64, positions=64, mels=16):
    from transformers import WhisperConfig, WhisperModel
    net = WhisperModel(WhisperConfig(vocab_size=VOCABULARY, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, d_model=width,
                                     encoder_layers=layers, encoder_attention_heads=heads, encoder_ffn_dim=ffn,
                                     decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64, max_source_positions=positions,
                                     num_mel_bins=mels, attn_implementation="sdpa"))
    return Case(Function(net.encoder, lambda m, x: m(x).last_hidden_state), {"input_features": example("batch", mels, 2 * positions)}, ["last_hidden_state"])


class EncoderLayer(nn.Module):
    def __init__(self, width=32, heads=2):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weight = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + self.out((weight @ v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


def encoder():
    return Case(nn.Sequential(EncoderLayer(), EncoderLayer()), {"x": example("batch", "seq", 32)}, ["y"])


class FusedDecoder(nn.Module):
    """Its ops export one to one to the fused operators of opset 24."""

    def __init__(self, hidden=64, heads=4, kv_heads=2, inner=96):
        super().__init__()
        self.heads, self.kv_heads, self.head = heads, kv_heads, hidden // heads
        self.embed = nn.Embedding(VOCABULARY, hidden)
        self.norm1, self.norm2 = nn.RMSNorm(hidden, eps=1e-6), nn.RMSNorm(hidden, eps=1e-6)
        self.q, self.o = nn.Linear(hidden, hidden, bias=False), nn.Linear(hidden, hidden, bias=False)
        self.k, self.v = (nn.Linear(hidden, kv_heads * self.head, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(hidden, inner, bias=False) for _ in range(2))
        self.down, self.logits = nn.Linear(inner, hidden, bias=False), nn.Linear(hidden, VOCABULARY, bias=False)
        angle = torch.outer(torch.arange(128.0), 10000.0 ** (-torch.arange(0, self.head, 2) / self.head))
        self.register_buffer("cos_table", angle.cos())
        self.register_buffer("sin_table", angle.sin())

    def forward(self, input_ids, position_ids):
        batch, length = input_ids.shape
        x = self.embed(input_ids)
        y = self.norm1(x)
        q = self.q(y).view(batch, length, self.heads, self.head).transpose(1, 2)
        k, v = (to(y).view(batch, length, self.kv_heads, self.head).transpose(1, 2) for to in (self.k, self.v))
        q, k = (torch.onnx.ops.rotary_embedding(t, self.cos_table, self.sin_table, position_ids) for t in (q, k))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.o(y.transpose(1, 2).reshape(batch, length, -1))
        y = self.norm2(x)
        return self.logits(x + self.down(nn.functional.silu(self.gate(y)) * self.up(y)))


def fused_decoder():
    return Case(FusedDecoder(), {"input_ids": example("batch", "seq", integers=True), "position_ids": example("batch", "seq", integers=True)}, ["logits"])


def image_net(net, size=None):
    shape = ("batch", 3, size, size) if size else ("batch", 3, "height", "width")
    return Case(net, {"image": example(*shape)}, ["logits"])


def timm_net(name, size=None, **extra):
    import timm
    return image_net(timm.create_model(name, pretrained=False, num_classes=16, exportable=True, **extra), size)


def resnet():
    from timm.models.resnet import Bottleneck, ResNet
    return image_net(ResNet(Bottleneck, [1, 1, 1, 1], num_classes=16, channels=(8, 16, 16, 32), stem_width=8))


class ClassicUnet(nn.Module):
    """Batch norms that no convolution can absorb, transposed convolutions, and what lives from the first to the last layer."""

    def __init__(self, widths=(8, 16, 32)):
        super().__init__()
        self.stem = nn.Conv2d(1, widths[0], 3, padding=1)
        self.down = nn.ModuleList(self.block(a, a) for a in widths)
        self.wider = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(widths, widths[1:]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in zip(widths, widths[1:]))
        self.join = nn.ModuleList(self.block(2 * a, a) for a in widths[:-1])
        self.out = nn.Conv2d(widths[0], 2, 1)

    @staticmethod
    def block(a, b):
        return nn.Sequential(nn.BatchNorm2d(a), nn.LeakyReLU(0.01), nn.Conv2d(a, b, 3, padding=1))

    def forward(self, x):
        x, kept = self.stem(x), []
        for down, wider in zip(self.down, self.wider):
            x = x + down(x)
            kept.append(x)
            x = wider(nn.functional.avg_pool2d(x, 2))
        x = x + self.down[-1](x)
        for up, join, skip in zip(reversed(self.up), reversed(self.join), reversed(kept)):
            x = join(torch.cat([up(x), skip], 1))
        return self.out(x)


def unet():
    return Case(ClassicUnet(), {"image": example("batch", 1, "height", "width")}, ["classes"])


def diffusion_unet(channels=(16, 32), layers=1, groups=8, words=(9, 32), heads=2):
    """Stable Diffusion's: attention at all resolutions but the lowest."""
    from diffusers import UNet2DConditionModel
    last = len(channels) - 1
    net = UNet2DConditionModel(sample_size=16, block_out_channels=channels, layers_per_block=layers, norm_num_groups=groups, cross_attention_dim=words[1],
                               attention_head_dim=heads, down_block_types=("CrossAttnDownBlock2D",) * last + ("DownBlock2D",),
                               up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * last)
    inputs = {"sample": example("batch", 4, "height", "width"), "timestep": example("batch", integers=True),
              "encoder_hidden_states": example("batch", *words)}
    return Case(Function(net, lambda m, x, t, words: m(x, t, encoder_hidden_states=words, return_dict=False)[0]), inputs, ["noise"])


def image_decoder():
    from diffusers import AutoencoderKL
    net = AutoencoderKL(block_out_channels=(16, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                        layers_per_block=1, latent_channels=4, sample_size=32, norm_num_groups=8)
    return Case(Function(net, lambda m, z: m.decode(z, return_dict=False)[0]), {"latent": example("batch", 4, "height", "width")}, ["image"])


def dit():
    from diffusers import DiTTransformer2DModel
    net = DiTTransformer2DModel(num_attention_heads=2, attention_head_dim=16, num_layers=2, sample_size=16, norm_num_groups=8)
    inputs = {"sample": example("batch", 4, 16, 16), "timestep": example("batch", integers=True), "class_labels": example("batch", integers=True)}
    return Case(Function(net, lambda m, x, t, label: m(x, timestep=t, class_labels=label, return_dict=False)[0]), inputs, ["noise"])


def pixart():
    from diffusers import PixArtTransformer2DModel
    net = PixArtTransformer2DModel(num_attention_heads=2, attention_head_dim=24, num_layers=1, sample_size=16, cross_attention_dim=48,
                                   caption_channels=32, use_additional_conditions=False, norm_num_groups=8)

    def squeeze(tensor, *dims):  # one that is no squeeze in torch, and cannot run in ONNX
        return tensor if dims and tensor.shape[dims[0]] != 1 else torch.squeeze(tensor, *dims)

    def call(m, x, words, t):
        with mock.patch.object(torch.Tensor, "squeeze", squeeze):
            return m(x, encoder_hidden_states=words, timestep=t, return_dict=False, added_cond_kwargs={"resolution": None, "aspect_ratio": None})[0]

    inputs = {"sample": example("batch", 4, 16, 16), "caption": example("batch", "seq", 32), "timestep": example("batch", integers=True)}
    return Case(Function(net, call), inputs, ["noise"])


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 24)
        self.lstm = nn.LSTM(24, 32, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(64, 16)

    def forward(self, ids):
        hidden, _ = self.lstm(self.embed(ids))
        return self.out(hidden).log_softmax(-1)


def tagger():
    return Case(Tagger(), {"input_ids": example("batch", "seq", integers=True)}, ["log_probs"])


class Branch(nn.Module):
    """torch.cond: weights that only one branch needs."""

    def __init__(self):
        super().__init__()
        self.enter, self.small = nn.Linear(48, 48), nn.Linear(48, 48)
        self.big = nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 48))

    def forward(self, x):
        x = self.enter(x)
        x = torch.cond(x.mean() > 0, lambda v: self.big(v), lambda v: self.small(v), (x,))
        return x / (1 + x.abs())


def branch():
    return Case(Branch(), {"x": example("batch", 48)}, ["y"])


class Selective(nn.Module):
    """A selective state space layer whose recurrence is torch's scan operator."""

    def __init__(self, width=48, state=8):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.enter, self.out = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.step, self.b, self.c = nn.Linear(width, width), nn.Linear(width, state), nn.Linear(width, state)
        self.decay_rate = nn.Parameter(torch.rand(width, state))

    def forward(self, x):
        u, gate = self.enter(self.norm(x)).chunk(2, -1)
        step = nn.functional.softplus(self.step(u))
        decay = torch.exp(-step.unsqueeze(-1) * self.decay_rate)
        drive = (step * u).unsqueeze(-1) * self.b(u).unsqueeze(2)

        def turn(state, now):
            state = state * now[0] + now[1]
            return state, state.clone()

        start = torch.zeros_like(drive[:, 0])
        _, states = torch._higher_order_ops.scan(turn, start, (decay.transpose(0, 1), drive.transpose(0, 1)), dim=0)
        y = (states.transpose(0, 1) * self.c(u).unsqueeze(2)).sum(-1)
        return x + self.out(y * nn.functional.silu(gate))


def state_space():
    return Case(Selective(), {"x": example("batch", "seq", 48)}, ["y"])


# name: (exporter, opset, what)
FAMILIES = {
    "llama_fp16": ("dynamo", 20, llama_half),
    "llama_op23": ("dynamo", 23, llama_positions),
    "decoder_op24": ("dynamo", 24, fused_decoder),
    "t5_encoder": ("dynamo", 20, t5),
    "mixtral": ("dynamo", 20, mixtral),
    "whisper_encoder": ("dynamo", 20, whisper),
    "encoder_ts16": ("torchscript-functions", 16, encoder),
    "resnet": ("dynamo", 20, resnet),
    "mobilenetv3_ts17": ("torchscript", 17, lambda: timm_net("mobilenetv3_small_050")),
    "efficientnet_ts17": ("torchscript", 17, lambda: timm_net("test_efficientnet")),
    "convnext": ("dynamo", 20, lambda: timm_net("test_convnext")),
    "swin": ("dynamo", 20, lambda: timm_net("swin_tiny_patch4_window7_224", 56, img_size=56, embed_dim=16, depths=(2, 1), num_heads=(2, 4))),
    "unet_ts13": ("torchscript", 13, unet),
    "sd_unet": ("dynamo", 20, diffusion_unet),
    "sd_vae_decoder": ("dynamo", 20, image_decoder),
    "dit": ("dynamo", 20, dit),
    "pixart": ("dynamo", 20, pixart),
    "lstm_tagger": ("dynamo", 20, tagger),
    "cond_branch": ("dynamo", 20, branch),
    "state_space": ("dynamo", 20, state_space),
}
