#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the graphs of this folder: `export_models.py [NAME...]`. Needs torch and transformers; no test runs it.

Models are built from a configuration (nothing is downloaded), exported as transformers' users do it, and stripped of
weights, doc strings and metadata; materialize.py fills weights in again.
"""
import argparse
import re
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from materialize import HERE, INLINE_ELEMENTS


def gpt2(layers, hidden, heads, vocabulary, positions):
    from transformers import GPT2Config, GPT2LMHeadModel
    return GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=hidden, n_head=heads, vocab_size=vocabulary,
                                      n_positions=positions, bos_token_id=0, eos_token_id=0,
                                      attn_implementation="sdpa"))


def llama(layers, hidden, heads, kv_heads, inner, vocabulary, positions):
    from transformers import LlamaConfig, LlamaForCausalLM
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads,
                                        num_key_value_heads=kv_heads, intermediate_size=inner, vocab_size=vocabulary,
                                        max_position_embeddings=positions, attn_implementation="sdpa"))


MODELS = {
    "gpt2_long": lambda: gpt2(2, 768, 12, 1024, 32768),
    "gpt2_tiny": lambda: gpt2(2, 64, 4, 256, 512),
    "llama_tiny": lambda: llama(2, 64, 4, 2, 176, 256, 512),
}


class Logits(torch.nn.Module):
    """The model as a function of positional tensors."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, input_ids, attention_mask):
        return self.inner(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits


def untie(module):
    """Fresh norms and biases are all ones and zeros; the exporter would merge them, as no trained model's."""
    for parameter in module.parameters():
        if parameter.numel() > 1 and (parameter == parameter.flatten()[0]).all():
            parameter.data += 0.1 * torch.randn(parameter.shape)


def clean(message):
    """Drops doc strings and metadata (stack traces, paths) everywhere but in tensors' data."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None and hasattr(value, "ListFields"):
            clean(value)
        elif field.message_type is not None:
            for item in value:
                clean(item)


def rename_dims(model):
    """Symbols of the exporter (s12) become the names a user would give; it has its own for each input."""
    names = {dim.dim_param: name for value in model.graph.input
             for dim, name in zip(value.type.tensor_type.shape.dim, ("batch", "seq"))}
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = pattern.sub(lambda m: names[m.group()], dim.dim_param)


def strip(model, name):
    """Turns float weights into references into NAME.onnx.data, which is not written."""
    offset = 0
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=np.int64) <= INLINE_ELEMENTS:
            continue
        length = numpy_helper.to_array(tensor).nbytes
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (("location", name + ".onnx.data"), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        offset = -(-(offset + length) // 64) * 64


def export(name, outdir):
    torch.manual_seed(0)
    module = Logits(MODELS[name]()).eval()
    untie(module)
    ids = torch.ones(2, 40, dtype=torch.int64)
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with tempfile.TemporaryDirectory() as temp, torch.no_grad():
        program = torch.onnx.export(module, (ids, torch.ones_like(ids)), dynamo=True, opset_version=20,
                                    input_names=["input_ids", "attention_mask"], output_names=["logits"],
                                    dynamic_shapes=(dynamic, dynamic), verbose=False)
        program.save(Path(temp) / "model.onnx", external_data=True)
        model = onnx.load(Path(temp) / "model.onnx")
    clean(model)
    rename_dims(model)
    strip(model, name)
    path = Path(outdir) / (name + ".onnx")
    onnx.save(model, path)
    print(f"{path}: {len(model.graph.node)} nodes, {path.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="default: all of " + ", ".join(MODELS))
    parser.add_argument("-o", "--outdir", default=HERE)
    args = parser.parse_args()
    for name in args.names or MODELS:
        export(name, args.outdir)


if __name__ == "__main__":
    main()
