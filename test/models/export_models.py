#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the graphs of this folder: `export_models.py [NAME...]`. Needs torch, transformers, diffusers and timm; no test runs it.

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

from cases import EXAMPLE, Case, Function, example, text
from families import FAMILIES
from materialize import HERE, INLINE_ELEMENTS


def causal(net):
    return Case(Function(net, lambda m, ids, mask: m(input_ids=ids, attention_mask=mask, use_cache=False).logits),
                text(), ["logits"])


def gpt2(layers, hidden, heads, vocabulary, positions, attention="sdpa"):
    from transformers import GPT2Config, GPT2LMHeadModel
    return causal(GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=hidden, n_head=heads, vocab_size=vocabulary,
                                             n_positions=positions, bos_token_id=0, eos_token_id=0,
                                             attn_implementation=attention)))


def llama_net(layers, hidden, heads, kv_heads, inner, vocabulary, positions):
    from transformers import LlamaConfig, LlamaForCausalLM
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads,
                                        num_key_value_heads=kv_heads, intermediate_size=inner, vocab_size=vocabulary,
                                        max_position_embeddings=positions, attn_implementation="sdpa"))


def llama(*sizes):
    return causal(llama_net(*sizes))


def llama_decode(layers, hidden, heads, kv_heads, *sizes):
    """One token after `past` others whose keys and values are given; the caches come back one longer."""
    from transformers import DynamicCache

    def call(net, ids, mask, positions, *past):
        cache = DynamicCache(tuple((past[2 * i], past[2 * i + 1]) for i in range(layers)))
        out = net(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
        return (out.logits, *(t for layer in out.past_key_values.layers for t in (layer.keys, layer.values)))

    names = [f"{kind}_{i}" for i in range(layers) for kind in ("key", "value")]
    inputs = {"input_ids": example("batch", 1, integers=True),
              "attention_mask": example("batch", "past + 1", integers=True),
              "position_ids": example("batch", 1, integers=True),
              **{"past_" + name: example("batch", kv_heads, "past", hidden // heads) for name in names}}
    return Case(Function(llama_net(layers, hidden, heads, kv_heads, *sizes), call), inputs,
                ["logits"] + ["present_" + name for name in names])


def bert(layers, hidden, heads, vocabulary, positions):
    from transformers import BertConfig, BertModel
    net = BertModel(BertConfig(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads,
                               intermediate_size=4 * hidden, vocab_size=vocabulary, max_position_embeddings=positions,
                               attn_implementation="sdpa"))
    inputs = {**text(), "token_type_ids": example("batch", "seq", integers=True)}
    return Case(Function(net, lambda m, ids, mask, types: tuple(
        m(input_ids=ids, attention_mask=mask, token_type_ids=types).to_tuple()[:2])),
        inputs, ["last_hidden_state", "pooler_output"])


def vit(layers, hidden, heads, image, patch):
    from transformers import ViTConfig, ViTModel
    net = ViTModel(ViTConfig(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads,
                             intermediate_size=4 * hidden, image_size=image, patch_size=patch,
                             attn_implementation="sdpa"), add_pooling_layer=False)
    return Case(Function(net, lambda m, pixels: m(pixel_values=pixels).last_hidden_state),
                {"pixel_values": example("batch", 3, image, image)}, ["last_hidden_state"])


def folding(blocks, sequence, pair, width, pair_width):
    from transformers.models.esm.configuration_esm import TrunkConfig
    from transformers.models.esm.modeling_esmfold import EsmFoldTriangularSelfAttentionBlock
    config = TrunkConfig(sequence_state_dim=sequence, pairwise_state_dim=pair, sequence_head_width=width,
                         pairwise_head_width=pair_width)
    net = torch.nn.ModuleList(EsmFoldTriangularSelfAttentionBlock(config) for _ in range(blocks))

    def call(inner, state, pairs, mask):
        for block in inner:
            state, pairs = block(state, pairs, mask=mask)
        return state, pairs

    inputs = {"sequence_state": example("batch", "n", sequence), "pairwise_state": example("batch", "n", "n", pair),
              "mask": (torch.ones(EXAMPLE["batch"], EXAMPLE["n"]), ("batch", "n"))}
    return Case(Function(net, call), inputs, ["sequence_out", "pairwise_out"])


# name: (exporter, opset, what)
MODELS = {
    "gpt2_long": ("dynamo", 20, lambda: gpt2(2, 768, 12, 1024, 32768)),
    "gpt2_tiny": ("dynamo", 20, lambda: gpt2(2, 64, 4, 256, 512)),
    "gpt2_tiny_unoptimized": ("dynamo-unoptimized", 18, lambda: gpt2(1, 64, 4, 256, 512, "eager")),
    "gpt2_tiny_ts14": ("torchscript", 14, lambda: gpt2(1, 64, 4, 256, 512)),
    "llama_tiny": ("dynamo", 20, lambda: llama(2, 64, 4, 2, 176, 256, 512)),
    "llama_tiny_decode": ("dynamo", 20, lambda: llama_decode(2, 64, 4, 2, 176, 256, 512)),
    "bert_tiny": ("dynamo", 18, lambda: bert(2, 64, 4, 256, 512)),
    "vit_tiny": ("dynamo", 20, lambda: vit(2, 64, 4, 64, 8)),
    "folding_tiny": ("dynamo", 20, lambda: folding(1, 64, 40, 16, 8)),
    **{"families/" + name: how for name, how in FAMILIES.items()},
}


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


def rename_dims(model, case):
    """Symbols of the exporter (s12) become the names a user would give; it has its own for each input. A dim that is
    an expression of others (past + 1) keeps the exporter's name."""
    names = {dim.dim_param: name for value in model.graph.input
             for dim, name in zip(value.type.tensor_type.shape.dim, case.inputs[value.name][1])
             if isinstance(name, str) and name.isidentifier()}
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = pattern.sub(lambda m: names[m.group()], dim.dim_param)


def strip(model, name):
    """Turns weights into references into NAME.onnx.data, which is not written."""
    offset = 0
    for tensor in model.graph.initializer:
        if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16) or np.prod(tensor.dims, dtype=np.int64) <= INLINE_ELEMENTS:
            continue
        length = numpy_helper.to_array(tensor).nbytes
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.ClearField("int32_data")
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (("location", name + ".onnx.data"), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        offset = -(-(offset + length) // 64) * 64


def write(exporter, opset, case, path):
    tensors = tuple(tensor for tensor, _ in case.inputs.values())
    names = dict(input_names=list(case.inputs), output_names=case.outputs)
    if exporter.startswith("torchscript"):
        axes = {name: {i: dim for i, dim in enumerate(dims) if isinstance(dim, str)}
                for name, (_, dims) in case.inputs.items()}
        torch.onnx.export(case.module, tensors, path, dynamo=False, opset_version=opset, dynamic_axes=axes,
                          export_modules_as_functions=exporter == "torchscript-functions", **names)
        return
    dynamic = tuple({i: torch.export.Dim.DYNAMIC for i, dim in enumerate(dims) if isinstance(dim, str)}
                    for _, dims in case.inputs.values())
    shapes = (dynamic,) if isinstance(case.module, Function) else dynamic  # *inputs are one argument
    program = torch.onnx.export(case.module, tensors, dynamo=True, opset_version=opset, dynamic_shapes=shapes,
                                verbose=False, optimize=exporter == "dynamo", **names)
    program.save(path, external_data=True)


def export(name, outdir):
    torch.manual_seed(0)
    exporter, opset, make = MODELS[name]
    case = make()
    case.module.eval()
    untie(case.module)
    with tempfile.TemporaryDirectory() as temp, torch.no_grad():
        write(exporter, opset, case, Path(temp) / "model.onnx")
        model = onnx.load(Path(temp) / "model.onnx")
    clean(model)
    rename_dims(model, case)
    path = Path(outdir) / (name + ".onnx")
    strip(model, path.stem)
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
