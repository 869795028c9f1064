# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a model is to export_models.py: a module, examples of its inputs, and the names of its outputs."""
from dataclasses import dataclass

import torch


class Function(torch.nn.Module):
    """A model as a function of positional tensors."""

    def __init__(self, inner, call):
        super().__init__()
        self.inner, self.call = inner, call

    def forward(self, *inputs):
        return self.call(self.inner, *inputs)


@dataclass
class Case:
    module: torch.nn.Module
    inputs: dict  # name -> (example, names of its dims; a number is no name and stays)
    outputs: list


EXAMPLE = {"batch": 2, "seq": 40, "past": 24, "past + 1": 25, "n": 12, "height": 64, "width": 96}


def example(*dims, integers=0):
    """Ones below a number of tokens, or noise; and the dims."""
    shape = [EXAMPLE.get(dim, dim) for dim in dims]
    return (torch.ones(shape, dtype=torch.int64) if integers else torch.randn(shape)), dims


def text():
    return {"input_ids": example("batch", "seq", integers=True), "attention_mask": example("batch", "seq", integers=True)}
