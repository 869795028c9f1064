# Suites of RUN lines, one a folder. A line uses snugc, snug-opt, snug-run, mlir-opt, FileCheck, not... by their plain
# names; they are found in the build and then in LLVM's folder, before anything else on the machine.
import os

import lit.formats

config.name = "snug"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "models", "numerics", "benchmark", "conventions", "unit"]
config.test_source_root = os.path.dirname(os.path.abspath(__file__))
config.test_exec_root = config.snug_test_dir

config.environment["PATH"] = os.pathsep.join([config.snug_bin_dir, config.llvm_bin_dir, os.environ["PATH"]])
# A variable captured in one LABEL block must not leak into the next, or a check passes on another function's value.
config.environment["FILECHECK_OPTS"] = "-enable-var-scope"
for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
    if name in os.environ:
        config.environment[name] = os.environ[name]

if not config.cuda_toolkit.endswith("NOTFOUND"):
    config.available_features.add("cuda-toolkit")
    config.environment["SNUG_CUDA_TOOLKIT"] = config.cuda_toolkit

if "-fsanitize" in config.cxx_flags:
    config.available_features.add("sanitizer")

# A program of upstream's ops, from standard input, through upstream's bufferization and lowering: what it prints, without
# addresses. linalg.softmax has loops only through its parts.
softmax = os.path.join(config.test_source_root, "plugin", "Inputs", "decompose-softmax.mlir")
lower = (f"builtin.module(transform-preload-library{{transform-library-paths={softmax}}},transform-interpreter,"
         "func.func(convert-elementwise-to-linalg),one-shot-bufferize{bufferize-function-boundaries "
         "function-boundary-type-conversion=identity-layout-map},func.func(convert-linalg-to-loops),convert-scf-to-cf,"
         "expand-strided-metadata,lower-affine,convert-math-to-llvm,convert-math-to-libm,convert-arith-to-llvm,"
         "convert-index-to-llvm,finalize-memref-to-llvm,convert-func-to-llvm,convert-cf-to-llvm,"
         "reconcile-unrealized-casts)")
libraries = ",".join(f"{config.llvm_lib_dir}/libmlir_{name}.so" for name in ("runner_utils", "c_runner_utils"))
config.substitutions += [
    ("%run_upstream", f"mlir-opt --pass-pipeline='{lower}' | mlir-runner -e main -entry-point-result=void "
                      f"--shared-libs={libraries} | sed 's/base@ = [^ ]*//'"),

    ("%snug_lib_dir", config.snug_lib_dir),  # plugins and libraries of the build
    ("%mlir_lib_dir", config.llvm_lib_dir),  # mlir-runner's support libraries
    ("%models", os.path.join(config.test_source_root, "models")),  # graphs without weights, and materialize.py
    ("%snug_source_dir", config.snug_source_dir),
    ("%python", config.snug_python),
    ("%clang", config.clang),
]
