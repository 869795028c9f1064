# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Latency and memory of Snug on a GPU beside torch and ONNX Runtime: ratios of paired runs. The benchmark of `run`."""
import hashlib
import json
import math
import os
import pathlib
import shutil
import statistics
import sys

# Type of tensors; relative L2 between two orders of sums, and kinds of attention; words for snugc.
DTYPES = {"f32": ("float32", 1e-4, []), "tf32": ("float32", 5e-3, ["--precision", "tf32"]), "f16": ("float16", 2e-2, [])}
PARTS = {"all": [], "half": ["--activation-budget", "50%"]}


def cases(match):
    import torch_models
    for name, model in torch_models.MODELS.items():
        for size in model.sizes:
            for dtype in DTYPES:
                if match in f"{name}.{size}.{dtype}":
                    yield name, size, dtype


def make(folder, snugc, chips, match, call, with_onnx):
    """Compiles what cases() has into `folder`; equal weights are stored once."""
    import torch
    import torch_models
    made = []
    for name, size, dtype in cases(match):
        kind = getattr(torch, DTYPES[dtype][0])
        module, inputs = torch_models.module_of(name, kind), torch_models.inputs_of(name, size, kind)
        onnx = folder / f"{name}.{size}.{dtype}.onnx"
        torch.onnx.export(module, tuple(inputs.values()), dynamo=True, opset_version=20, verbose=False, input_names=list(inputs),
                          output_names=list(torch_models.MODELS[name].outputs)).save(onnx, external_data=False)
        for part, budget in PARTS.items():
            library, report = folder / f"{onnx.stem}.{part}.so", folder / "report.json"
            compiling = [snugc, onnx, "--target", f"cuda:{chips}", *DTYPES[dtype][2], "--report", report]
            if budget and call(*compiling, "--dry-run", *budget, allowed=(0, 4))[0]:
                budget = ["--activation-budget", f"{json.loads(report.read_text())['budget']['least_activation']}B"]
            call(*compiling, "-o", library, *budget)
            said = json.loads(report.read_text())
            weights = pathlib.Path(f"{library}.safetensors")
            stored = None
            if weights.exists():
                stored = hashlib.sha256(weights.read_bytes()).hexdigest()[:16] + ".safetensors"
                weights.replace(folder / stored)
            made.append({"name": name, "size": size, "dtype": dtype, "part": part, "weights": stored, "planned": said["memory"]["total"],
                         "arena": said["memory"]["arena"], "loops": len(said["chunk_loops"])})
            print(f"{library.stem}: arena {said['memory']['arena']} B, {len(said['chunk_loops'])} chunk loops", flush=True)
        if not with_onnx:
            onnx.unlink()
        (folder / "report.json").unlink()
    (folder / "benchmark.json").write_text(json.dumps(made, indent=1))
    for path in (pathlib.Path(__file__), pathlib.Path(torch_models.__file__)):
        shutil.copy(path, folder)
    shutil.copytree(pathlib.Path(__file__).parents[2] / "python" / "snug", folder / "snug", dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("__pycache__"))


class Runner:
    """Something that computes a model: `call()` starts a run on torch's current stream; bytes of device memory, all in all."""

    def __init__(self, name, start, torch):
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        self.name, self.call = name, start()
        for _ in range(3):
            self.result = self.call()
        torch.cuda.synchronize()
        self.taken = free - torch.cuda.mem_get_info()[0]               # as the driver says, caches of allocators included
        self.peak = torch.cuda.max_memory_allocated() - before         # what torch's allocator gave out

    def seconds(self, runs, torch):
        """Mean of that many runs, by the device's clock."""
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(runs):
            self.call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / runs


def first_of(result):
    if isinstance(result, dict):
        return next(iter(result.values()))
    return result[0] if isinstance(result, (tuple, list)) else result


def snug_runner(one, folder, inputs, torch, graph):
    import snug
    library = folder / f"{one['name']}.{one['size']}.{one['dtype']}.{one['part']}.so"
    link = pathlib.Path(f"{library}.safetensors")
    if one["weights"] and not link.exists():
        link.symlink_to(one["weights"])

    def start():
        model = snug.load(str(library), stream=torch.cuda.current_stream().cuda_stream, device_tensors=True, cuda_graph=graph)
        out = model(**inputs)
        return lambda: model(**inputs, out=out)
    return start


def torch_runner(one, inputs, torch, kind):
    import torch_models

    def start():
        module = torch_models.module_of(one["name"], getattr(torch, DTYPES[one["dtype"]][0]), kind == "eager").cuda()
        module = torch.compile(module) if kind == "compile" else module

        def run():
            with torch.inference_mode():
                return module(*inputs.values())
        return run
    return start


def onnxruntime_runner(one, folder, inputs, torch):
    import onnxruntime

    def start():
        path = folder / f"{one['name']}.{one['size']}.{one['dtype']}.onnx"
        use_tf32 = "1" if one["dtype"] == "tf32" else "0"  # which it does by itself
        session = onnxruntime.InferenceSession(str(path), providers=[("CUDAExecutionProvider", {"use_tf32": use_tf32})])
        binding = session.io_binding()
        for name, value in inputs.items():
            binding.bind_input(name, "cuda", 0, 10 if one["dtype"] == "f16" else 1, tuple(value.shape), value.data_ptr())
        for output in session.get_outputs():
            binding.bind_output(output.name, "cuda")

        def run():
            session.run_with_iobinding(binding)
            return [torch.from_numpy(binding.copy_outputs_to_cpu()[0])]
        run()
        return lambda: session.run_with_iobinding(binding)
    return start


def attempts(part_of, folder, inputs, torch):
    """(name, what starts it) of all that may compute a model here; the first is what others are compared with."""
    one = part_of["all"]
    yield "torch sdpa", torch_runner(one, inputs, torch, "sdpa")
    yield "torch eager", torch_runner(one, inputs, torch, "eager")
    yield "torch compile", torch_runner(one, inputs, torch, "compile")
    try:
        import onnxruntime
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and (folder / f"{one['name']}.{one['size']}.{one['dtype']}.onnx").exists():
            yield "onnxruntime", onnxruntime_runner(one, folder, inputs, torch)
    except ImportError:
        pass
    for part, planned in part_of.items():
        yield f"snug {part}", snug_runner(planned, folder, inputs, torch, graph=False)
    yield "snug all, graph", snug_runner(one, folder, inputs, torch, graph=True)


def measure(part_of, folder, rounds, torch):
    """Rows of a case, each with `ratios` of its time to the first one's in the same round."""
    import torch_models
    one = part_of["all"]
    inputs = torch_models.inputs_of(one["name"], one["size"], getattr(torch, DTYPES[one["dtype"]][0]), "cuda")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = one["dtype"] == "tf32"  # f32 is f32, as Snug's
    runners, rows = [], []
    for name, start in attempts(part_of, folder, inputs, torch):
        try:
            runners.append(Runner(name, start, torch))
        except Exception as problem:  # one that is out of memory is a result, too
            rows.append({**one, "who": name, "problem": str(problem).strip().split("\n")[0][:160]})
    if not runners:
        return rows
    want = first_of(runners[0].result).double()
    runs = {runner.name: max(1, min(200, math.ceil(0.05 / max(runner.seconds(1, torch), 1e-6)))) for runner in runners}
    times = [[runner.seconds(runs[runner.name], torch) for runner in runners] for _ in range(rounds)]
    for index, runner in enumerate(runners):
        part = runner.name.removeprefix("snug ").partition(",")[0] if runner.name.startswith("snug") else "all"
        got = first_of(runner.result)
        error = None if got is None else float((got.double() - want).norm() / want.norm())
        rows.append({**part_of[part], "who": runner.name, "ms": 1e3 * statistics.median(one[index] for one in times), "error": error,
                     "ratios": sorted(one[index] / one[0] for one in times), "peak": runner.peak, "taken": runner.taken,
                     "problem": "" if error is None or error <= DTYPES[one["dtype"]][1] else "wrong result"})
    return rows


def line(row):
    case = f"{row['name']} {row['size']} {row['dtype']}"
    if "ms" not in row:
        return f"{case:26}{row['who']:18}{row['problem']}"
    middle, spread = statistics.median(row["ratios"]), f"{row['ratios'][0]:.2f} to {row['ratios'][-1]:.2f}"
    memory = row["planned"] if row["who"].startswith("snug") else row["peak"]
    return (f"{case:26}{row['who']:18}{row['ms']:10.3f}{middle:9.2f}  {spread:14}{memory / 2**20:11.1f}{row['taken'] / 2**20:11.1f}"
            f"{'-' if row['error'] is None else format(row['error'], '.1e'):>10}  {row['problem']}")


def run(folder, match, rounds, json_path):
    import torch
    if not torch.cuda.is_available():
        return None
    sys.path.insert(0, str(folder))
    os.environ.setdefault("SNUG_RUNTIME", str(next((folder / "lib").glob("libsnug_runtime.so*"))))
    found = {}
    for one in json.loads((folder / "benchmark.json").read_text()):
        if match in f"{one['name']}.{one['size']}.{one['dtype']}":
            found.setdefault((one["name"], one["size"], one["dtype"]), {})[one["part"]] = one
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; times are those of the device, ratios to torch sdpa in the same round\n"
          f"{'model':26}{'':18}{'ms':>10}{'ratio':>9}  {'':14}{'peak MiB':>11}{'taken MiB':>11}{'error':>10}")
    rows = []
    for part_of in found.values():
        for row in measure(part_of, folder, rounds, torch):
            rows.append(row)
            print(line(row), flush=True)
        torch.cuda.empty_cache()
    if json_path:
        json_path.write_text(json.dumps(rows, indent=1))
    return rows
