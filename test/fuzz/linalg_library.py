# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Chunks programs with Snug's passes, and compiles them with nothing of Snug's: upstream bufferization and lowering,
many programs into one library, called through their C interface. `python linalg_library.py SEED` checks one program, and
says which of its steps are the least that fail."""
import argparse
import collections
import ctypes as C
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

from linalg_emitter import NUMPY
from linalg_programs import CONTROL, Program

LLVM = Path(os.environ.get("SNUG_LLVM_BIN", "/usr/lib/llvm-22/bin"))
HERE = Path(__file__).resolve().parent
SNUG_OPT = os.environ.get("SNUG_OPT", HERE.parents[1] / "build/dev/bin/snug-opt")

# Upstream has loops for linalg.softmax only through its parts.
SOFTMAX = """
  transform.named_sequence @__transform_main(%m: !transform.any_op) {
    %s = transform.structured.match ops{["linalg.softmax"]} in %m : (!transform.any_op) -> !transform.any_op
    transform.foreach %s : !transform.any_op {
    ^bb0(%one: !transform.any_op):
      %p = transform.structured.decompose_interface %one : (!transform.any_op) -> !transform.any_op
    }
    transform.yield
  }
"""
LOWER = ("builtin.module(transform-interpreter,test-transform-dialect-erase-schedule,one-shot-bufferize{"
         "bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map "
         "allow-return-allocs-from-loops},"
         "buffer-deallocation-pipeline,func.func(optimize-allocation-liveness),convert-bufferization-to-memref,"
         "func.func(convert-linalg-to-loops),convert-scf-to-cf,expand-strided-metadata,lower-affine,convert-math-to-llvm,"
         "convert-math-to-libm,convert-arith-to-llvm,convert-index-to-llvm,finalize-memref-to-llvm{use-generic-functions},convert-func-to-llvm,"
         "convert-cf-to-llvm,reconcile-unrealized-casts)")


# Seeds whose program upstream cannot lower even without chunk loops, so that there is nothing to compare with. In these a
# slice of one element along one dim has a stride there, and dims of 1 are dropped and kept: what expand-strided-metadata
# of mlir-opt 22.1 crashes on, as it tells them apart by their strides. Such as
#   memref.subview %a[1, 0, 0] [1, 1, 12] [2, 1, 1]
#     : memref<5x1x12xf32> to memref<1x12xf32, strided<[24, 1], offset: 12>>
UPSTREAM_FAILS = {863, 1042, 1727, 1820}


class Failure(Exception):
    pass


def run(command, text):
    done = subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True, timeout=300)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error:" in line or "Assertion" in line] or [done.stderr[-2000:]]
        raise Failure(f"{' '.join(str(c) for c in command)}\n  exit code {done.returncode}: " + "\n  ".join(lines[:4]))
    return done.stdout, done.stderr


def module(functions, program):
    """One program as snug-opt takes it: its dims have bounds."""
    bound = f'{{name = "n", min = 1 : i64, max = {program.bound} : i64, step = 1 : i64}}' if program.bound else ""
    return f"module attributes {{snug.dims = [{bound}]}} {{\n{functions}\n}}\n"


def chunk(program, flags=""):
    """(The function with chunk loops, the peak without any, the peak, whether no reduction is split, whether the search's
    first plan had to be given up as the program did not keep to it)."""
    text, remarks = run([SNUG_OPT, f"--snug-select-chunks={flags}", "--mlir-print-local-scope"],
                        module(program.mlir(), program))
    peaks = [tuple(map(int, p)) for p in re.findall(r"peak (\d+) -> (\d+) bytes$", remarks, re.M)]
    whole, peak = peaks[0] if peaks else (None, None)
    # What leaves no sum in parts.
    exact = set(re.findall(r'kind = "(\w+)"', text)) <= {"parallel", "halo"}
    return body(text), whole, peak, exact, "broken_plans = 1" in text


def body(text):
    """The functions of a module."""
    return text[text.index("{\n", text.index("module")) + 2:text.rindex("}")].replace("\n  module {", "")


def library(folder, functions):
    """A shared library of all functions."""
    text = re.sub(r',? ?snug\.dims = \[[^]]*\]', "", "\n".join(functions))
    text = f"module attributes {{transform.with_named_sequence}} {{\n{text}\n{SOFTMAX}}}\n"
    lowered, _ = run([LLVM / "mlir-opt", f"--pass-pipeline={LOWER}"], text)
    ir, _ = run([LLVM / "mlir-translate", "--mlir-to-llvmir"], lowered)
    path = Path(folder, "programs.so")
    # Contraction of a product and a sum to one operation would depend on how loops are shaped.
    run([LLVM / "clang", "-x", "ir", "-O1", "-ffp-contract=off", "-Wno-override-module", "-shared", "-fPIC", "-", "-x", "c", HERE / "counting_alloc.c", "-o", path,
         "-lm", f"-L{LLVM.parent}/lib", f"-Wl,-rpath,{LLVM.parent}/lib", "-lmlir_c_runner_utils", "-Wl,-z,defs"], ir)
    return path


def descriptor(array):
    """A memref: allocated, aligned, offset, sizes, strides."""
    words = [array.ctypes.data, array.ctypes.data, 0, *array.shape, *(s // array.itemsize for s in array.strides)]
    return (C.c_int64 * len(words))(*words)


def call(path, symbol, program, n):
    arrays = [np.ascontiguousarray(program.data(i, n)) for i in range(len(program.arguments))]
    kept = [a.copy() for a in arrays]
    words = sum(3 + 2 * v.rank for v in program.outputs)
    results = (C.c_int64 * words)()
    inputs = [descriptor(a) for a in arrays]
    getattr(C.CDLL(str(path)), f"_mlir_ciface_{symbol}")(C.byref(results), *(C.byref(i) for i in inputs))
    outputs, at = [], 0
    for value in program.outputs:
        _, aligned, offset = results[at:at + 3]
        sizes, strides = results[at + 3:at + 3 + value.rank], results[at + 3 + value.rank:at + 3 + 2 * value.rank]
        at += 3 + 2 * value.rank
        dtype = np.dtype(NUMPY[value.dtype])
        span = sum((e - 1) * s for e, s in zip(sizes, strides)) + 1
        memory = (C.c_char * (span * dtype.itemsize)).from_address(aligned + offset * dtype.itemsize)
        flat = np.frombuffer(memory, dtype)
        outputs.append(np.lib.stride_tricks.as_strided(flat, sizes, [s * dtype.itemsize for s in strides]).copy())
    return outputs, all(np.array_equal(a, k) for a, k in zip(arrays, kept))


def error(got, want, least=0.0):
    """Relative, in the norm; of values that cancel to less than `least` each, relative to that."""
    if got.shape != want.shape:
        return float("inf")
    difference = float(np.linalg.norm((got - want).ravel().astype(np.float64)))
    return difference and difference / max(float(np.linalg.norm(want.ravel())), least * got.size ** 0.5, 1e-300)


def lengths(program):
    """Of the dynamic dim: the bound, one below and the least."""
    return [program.bound, program.bound * 2 // 3, 1] if program.bound else [None]


def compare(program, path, variants):
    """What is wrong, or None, and the most bytes that were allocated at one time by the program and by each variant.
    variants: (symbol, exact)."""
    counter, most = C.CDLL(str(path)), []
    counter.most_allocated.restype = C.c_int64

    def measured(symbol, n):
        counter.forget_allocations()
        result = call(path, symbol, program, n)
        if n in (None, program.bound):
            most.append(counter.most_allocated())
        return result
    for n in lengths(program):
        env = program.evaluate(n)
        near = program.evaluate(n, np.float32) if program.dtype == "f32" else env
        whole, unharmed = measured(f"p{program.seed}", n)
        if program.keeps_arguments and not unharmed:
            return f"n = {n}: the unchunked program writes to its arguments", []
        for value, got in zip(program.outputs, whole):
            off = error(got, env[value.name], least=0.01)
            # Where values cancel, numpy in the program's own precision is off, too.
            most_off = max(2e-4 if program.dtype == "f32" else 1e-9, 8 * error(near[value.name], env[value.name], least=0.01))
            if not off <= most_off:
                return f"n = {n}: {value.name} {value.type} unchunked is not what numpy says, by {off:.1e}", []
        for symbol, exact in variants:
            chunked, unharmed = measured(symbol, n)
            if program.keeps_arguments and not unharmed:
                return f"n = {n}: {symbol} writes to its arguments", []
            for value, got, want in zip(program.outputs, chunked, whole):
                # Sums in another order round in another way: no farther from numpy than without loops, where that is far.
                off = max(1e-5, 4 * error(want, env[value.name], least=0.01))
                if not (np.array_equal(got, want, equal_nan=True) if exact
                        else error(got, want) <= 1e-5 or error(got, env[value.name], least=0.01) <= off):
                    return f"n = {n}: {value.name} {value.type} of {symbol} differs by {error(got, want):.1e} from the unchunked", []
    return None, most


def apart(function, *arguments):
    """What function(report, *arguments) reports from a process of its own, as generated code may crash."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            with os.fdopen(writer, "wb") as file:
                def report(value):
                    pickle.dump(value, file)
                    file.flush()
                function(report, *arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    reports = []
    with os.fdopen(reader, "rb") as file:
        while True:
            try:
                reports.append(pickle.load(file))
            except (EOFError, pickle.UnpicklingError):
                break
    os.waitpid(child, 0)
    return reports


Variant = collections.namedtuple("Variant", "suffix flags text peak exact broken")


def chunked(program):
    """Variants of a program: at the least peak that can be reached, and at a budget
    between that and the peak without loops."""
    text, whole, least, exact, broken = chunk(program)
    if whole is None:
        return []
    found = [Variant("least", "", text, least, exact, broken)]
    budget = least + int((whole - least) * np.random.default_rng([program.seed, 7]).random())
    loosen = "" if program.seed % 4 else " loosen=0"
    try:
        text, _, peak, exact, broken = chunk(program, f"activation-budget={budget}{loosen}")
    except Failure as failure:
        # Without what loosening allows, less may be in reach.
        if not loosen or "the least peak that can be reached" not in str(failure):
            raise
        return found
    if peak is not None and peak > budget:
        raise Failure(f"planned {peak} bytes for a budget of {budget}")
    return found + [Variant("budget", f"activation-budget={budget}{loosen}", text, peak or whole, exact, broken)]


# {seed: what}; how many programs have loops, and broken plans; (bytes planned, measured, measured of the unchunked), those
# with bodies of loops or branches apart: what of these is freed late depends on the deallocation.
Checked = collections.namedtuple("Checked", "wrong loops broken memory controlled", defaults=[[]])


def check(seeds, folder, steps=None):
    """These programs, in one library."""
    wrong, programs, functions, variants, peaks, broken, memory, controlled = {}, {}, [], {}, {}, 0, [], []
    for seed in seeds:
        if seed in UPSTREAM_FAILS:
            continue
        program = programs[seed] = Program(seed, steps)
        try:
            found = chunked(program)
        except Failure as failure:
            wrong[seed] = str(failure)
            continue
        functions.append(program.mlir())
        functions += [v.text.replace(f"@p{seed}(", f"@p{seed}_{v.suffix}(") for v in found]
        variants[seed] = [(f"p{seed}_{v.suffix}", v.exact) for v in found]
        peaks[seed] = [v.peak for v in found]
        broken += any(v.broken for v in found)
    if not functions:
        return Checked(wrong, 0, broken, [])
    try:
        path = library(folder, functions)
    except Failure as failure:
        if len(seeds) == 1:
            return Checked({seeds[0]: str(failure)}, 0, broken, [])
        for seed in variants:  # which of them
            single = Path(folder, str(seed))
            single.mkdir()
            wrong.update(check([seed], single, steps).wrong)
        return Checked(wrong or {seeds[0]: f"only all together: {failure}"}, 0, broken, [])

    def each(report, left):
        for seed in left:
            report((seed, ("crashes", [])))
            report((seed, compare(programs[seed], path, variants[seed])))
    left = list(variants)
    while left:
        reports = dict(apart(each, left))
        if not reports:
            raise Failure("the process that compares does not start")
        for seed, (what, most) in reports.items():
            if what:
                wrong[seed] = what
            column = controlled if set(programs[seed].kinds) & set(CONTROL) else memory
            column += [(planned, bytes_, most[0]) for planned, bytes_ in zip(peaks[seed], most[1:])]
        left = [seed for seed in left if seed not in reports]
    return Checked(wrong, sum(bool(v) for v in variants.values()), broken, memory, controlled)


def least_steps(seed, most):
    """The fewest steps of the program's that are wrong, and what is."""
    for steps in range(1, most + 1):
        with tempfile.TemporaryDirectory() as folder:
            wrong = check([seed], folder, steps).wrong
        if wrong:
            return steps, wrong[seed]
    return None, None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--steps", type=int, help="only so many of its steps")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write the program and its variants there")
    parser.add_argument("--reduce", action="store_true", help="find the fewest steps that fail")
    args = parser.parse_args()
    program = Program(args.seed, args.steps)
    print(f"seed {args.seed}: {program.dtype}, n <= {program.bound}, steps {program.kinds}")
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        (args.keep / "whole.mlir").write_text(module(program.mlir(), program))
        try:
            for variant in chunked(program):
                (args.keep / f"{variant.suffix}.mlir").write_text(variant.text)
                print(f"{SNUG_OPT} --snug-select-chunks='{variant.flags}' {args.keep}/whole.mlir")
        except Failure as failure:
            print(failure)
    with tempfile.TemporaryDirectory() as folder:
        wrong, loops, broken, memory, controlled = check([args.seed], folder, args.steps)
    print(wrong.get(args.seed, "as it should be" + ("" if loops else "; it has no chunk loops") +
                    ("; the first plan was given up" if broken else "")))
    for planned, measured, unchunked in memory + controlled:
        print(f"planned {planned} bytes, measured {measured}, without loops {unchunked}")
    if wrong and args.reduce:
        print("fewest steps: %s\n%s" % least_steps(args.seed, len(program.kinds)))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
