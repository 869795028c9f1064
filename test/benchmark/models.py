# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What benchmark.py measures: models of real width as torch modules, at fixed sizes, and the ONNX files exported from them.

AutoChunk's four families have two layers of the real model, so that long inputs take seconds. Weights come from a seed."""
import hashlib
import json
import sys
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))

UNET = dict(channels=(64, 128, 256, 256), layers=2, groups=32, words=(77, 256), heads=(2, 4, 8, 8))

# name: (function of MAKERS, its arguments, sizes of the named dims)
MODELS = {
    **{f"gpt-{n}": ("gpt2", (2, 768, 12, 1024, 8192), {"seq": n}) for n in (512, 1024, 4096)},
    **{f"vit-{n}": ("vit", (2, 768, 12, n, 16), {}) for n in (384, 768)},
    **{f"evo-{n}": ("folding", (1, 1024, 128, 32, 32), {"n": n}) for n in (128, 256, 384)},
    **{f"unet-{n}": ("unet", (), {"height": n, "width": n}) for n in (32, 64)},
    "llama-512": ("llama", (2, 1024, 8, 2, 2816, 1024, 8192), {"seq": 512}),
    "llama-decode-1024": ("llama_decode", (2, 1024, 8, 2, 2816, 1024, 8192), {"past": 1024, "past + 1": 1025}),
    "bert-384": ("bert", (4, 768, 12, 1024, 512), {"seq": 384}),
    "whisper-tiny": ("whisper", (4, 384, 6, 1536, 1500, 80), {}),
    "resnet50": ("timm", ("resnet50",), {"height": 224, "width": 224}),
    "mobilenetv3": ("timm", ("mobilenetv3_large_100",), {"height": 224, "width": 224}),
    "efficientnet-b0": ("timm", ("efficientnet_b0",), {"height": 224, "width": 224}),
}
# Of these the pair representation is what takes the time: their goal is another.
PAIRS = [name for name in MODELS if name.startswith("evo")]
OPSET = 20


def makers():
    import export_models
    import families
    return {"gpt2": export_models.gpt2, "vit": export_models.vit, "folding": export_models.folding, "llama": export_models.llama,
            "llama_decode": export_models.llama_decode, "bert": export_models.bert, "whisper": families.whisper,
            "unet": lambda: families.diffusion_unet(**UNET), "timm": families.timm_net}


def case_of(name):
    """The module, in evaluation, with seeded weights; its inputs have fixed sizes."""
    import cases
    import export_models
    import torch
    kind, arguments, sizes = MODELS[name]
    torch.manual_seed(0)
    with mock.patch.dict(cases.EXAMPLE, {"batch": 1, **sizes}):
        case = makers()[kind](*arguments)
    case.module.eval().requires_grad_(False)
    export_models.untie(case.module)
    case.inputs = {name: (tensor, tuple(tensor.shape)) for name, (tensor, _) in case.inputs.items()}
    return case


def key_of(name):
    """Changes with whatever the exported file depends on."""
    import torch
    text = json.dumps([MODELS[name], OPSET, torch.__version__])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def onnx_of(name, work):
    """The path of the exported model, exported once."""
    import export_models
    path = work / f"{name}-{key_of(name)}" / f"{name}.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name("unfinished.onnx")
        export_models.write("dynamo", OPSET, case_of(name), unfinished)
        import onnx
        onnx.save(onnx.load(unfinished), path, save_as_external_data=True, location=path.name + ".data")
        for left in path.parent.glob("unfinished*"):
            left.unlink()
    return path
