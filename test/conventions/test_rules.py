# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each rule sees a planted violation, and accepts the tree without it."""
import subprocess

import pytest

import rules

PASS = '''
def SelectChunks : Pass<"snug-select-chunks", "::mlir::func::FuncOp"> {
  let summary = "Select chunk loops";
  let description = [{
    Says what it does.
  }];
}
'''
HEADER = '''#define SNUG_EXIT_CODES(X) \\
  X(SNUG_EXIT_DONE, 0, "done") \\
  X(SNUG_EXIT_FAULT, 70, "a fault")
'''
GOOD = {
    "include/snug/ModelABI.h": "",
    "include/snug/ExitCodes.h": HEADER,
    "docs/command-line.md": "| code | meaning |\n|---|---|\n| 0 | done |\n| 70 | a fault |\n",
    "lib/driver/Stages.def": 'SNUG_STAGE(Import, "import", "x")\nSNUG_STAGE(Memory, "plan", "y")\n',
    "docs/pipeline.md": "| stage | folder |\n|---|---|\n| import | `lib/import` |\n| plan | `passes/memory` |\n",
    "dialects/nn/NnDialect.h": '#include "mlir/IR/Dialect.h"\n#include "dialects/nn/NnOps.h.inc"\n',
    "lib/solver/ArenaPacker.h": "#include <vector>\n",
    "lib/solver/ArenaPacker.cpp": '#include "lib/solver/ArenaPacker.h"\n#include "ArenaPacker.h"\n',
    "lib/analysis/IndexRules.h": '#include "dialects/nn/NnDialect.h"\n',
    "lib/import/onnx/Import.h": '#include "dialects/nn/NnDialect.h"\n',
    "lib/driver/Pipeline.cpp": '#include "passes/chunk/Passes.h.inc"\n#include "lib/import/onnx/Import.h"\n',
    "passes/chunk/Passes.td": PASS,
    "passes/memory/Arena.h": "",
    "passes/chunk/SelectChunks.cpp": '#include "lib/solver/ArenaPacker.h"\n#define DEBUG_TYPE "snug-select-chunks"\n',
    "codegen/link/Link.cpp": '#include "snug/ModelABI.h"\n',
    "runtime/core/Model.cpp": '#include "snug/ModelABI.h"\n#include <dlfcn.h>\n',
    "tools/snugc/snugc.cpp": '#include "lib/driver/Driver.h"\nint main() {}\n',
    "test/passes/chunk/select-chunks.mlir": "// RUN: snug-opt %s -snug-select-chunks | FileCheck %s\n",
}


@pytest.fixture
def tree(tmp_path):
    """tree({path: text or None}) writes the good tree with these changes."""
    def write(changes):
        for path, text in {**GOOD, **changes}.items():
            if text is None:
                continue
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text((rules.SPDX + "\n" if target.suffix in rules.CPP and "raw" not in path else "") + text)
        return tmp_path
    return write


@pytest.mark.parametrize("rule", rules.ALL, ids=lambda rule: rule.__name__)
def test_good_tree_has_no_violation(rule, tree):
    assert rule(tree({})) == []


EDGES, PASSES, CODES = rules.include_edges, rules.passes, rules.exit_codes
CASES = [
    (EDGES, {"lib/solver/A.cpp": '#include "mlir/IR/Value.h"\n'}, "lib/solver must not include MLIR"),
    (EDGES, {"lib/solver/A.cpp": '#include <llvm/ADT/SmallVector.h>\n'}, "lib/solver must not include MLIR"),
    (EDGES, {"lib/solver/A.cpp": '#include "lib/analysis/IndexRules.h"\n'}, "must not include lib/analysis"),
    (EDGES, {"lib/solver/A.cpp": '#include "snug/ModelABI.h"\n'}, "must not include include"),
    (EDGES, {"lib/solver/A.cpp": '#include "../analysis/IndexRules.h"\n'}, "must not include lib/analysis"),
    (EDGES, {"runtime/core/B.cpp": '#include "lib/solver/ArenaPacker.h"\n'}, "must not include lib/solver"),
    (EDGES, {"runtime/core/B.cpp": '#include "mlir/IR/Value.h"\n'}, "runtime must not include MLIR"),
    (EDGES, {"include/snug/C.h": '#include "runtime/core/Model.h"\n'}, "include must not include runtime"),
    (EDGES, {"dialects/nn/D.cpp": '#include "passes/chunk/Passes.h"\n'}, "dialects must not include passes"),
    (EDGES, {"lib/analysis/E.cpp": '#include "passes/chunk/Passes.h.inc"\n'}, "must not include passes"),
    (EDGES, {"lib/import/onnx/F.cpp": '#include "lib/solver/ArenaPacker.h"\n'}, "must not include lib/solver"),
    (EDGES, {"passes/chunk/G.cpp": '#include "codegen/link/Link.h"\n'}, "passes must not include codegen"),
    (EDGES, {"passes/chunk/G.cpp": '#include "lib/driver/Driver.h"\n'}, "must not include lib/driver"),
    (EDGES, {"codegen/cpu/H.cpp": '#include "passes/chunk/Passes.h"\n'}, "codegen must not include passes"),
    (EDGES, {"codegen/cpu/H.cpp": '#include "lib/solver/ArenaPacker.h"\n'}, "must not include lib/solver"),
    (EDGES, {"tools/snugc/I.cpp": '#include "passes/chunk/Passes.h"\n'}, "tools must not include passes"),
    (EDGES, {"tools/snugc/I.cpp": '#include "lib/solver/ArenaPacker.h"\n'}, "must not include lib/solver"),
    (EDGES, {"lib/driver/J.cpp": '#include "tools/snugc/Options.h"\n'}, "lib/driver must not include tools"),
    (EDGES, {"lib/stray/K.cpp": ""}, "belongs to no folder"),
    (PASSES, {"codegen/cuda/Passes.td": PASS.replace("snug-select", "select")}, "codegen/cuda/Passes.td: SelectChunks: its"),
    (PASSES, {"passes/chunk/Passes.td": PASS.replace("snug-select", "select")}, "not snug-select-chunks"),
    (PASSES, {"passes/chunk/Passes.td": PASS.replace("-chunks", "-chunk")}, "not snug-select-chunks"),
    (PASSES, {"passes/chunk/Passes.td": PASS.replace('"Select chunk loops"', '""')}, "no summary"),
    (PASSES, {"passes/chunk/Passes.td": PASS.replace("Says what it does.", "")}, "no description"),
    (PASSES, {"passes/chunk/Passes.td": PASS.replace("SelectChunks", "Other").replace("select-chunks", "other")},
     "no passes/chunk/Other.cpp"),
    (PASSES, {"passes/chunk/Passes.td": PASS.replace("let summary", 'let statistics = [Statistic<"a", "a", "a">];\n  let summary')},
     "pass statistics differ"),
    (PASSES, {"passes/chunk/SelectChunks.cpp": None}, "no passes/chunk/SelectChunks.cpp"),
    (PASSES, {"passes/chunk/SelectChunks.cpp": '#define DEBUG_TYPE "chunks"\n'}, "DEBUG_TYPE is chunks"),
    (PASSES, {"test/passes/chunk/select-chunks.mlir": None}, "no lit test named select-chunks.mlir"),
    (PASSES, {"test/passes/chunk/select-chunks.mlir": "// RUN: true\n"}, "does not run snug-select-chunks"),
    (rules.spdx, {"runtime/core/raw.cpp": "int x;\n"}, "runtime/core/raw.cpp: the first line"),
    (rules.spdx, {"passes/chunk/raw.td": "\n"}, "passes/chunk/raw.td: the first line"),
    (rules.lengths, {"passes/chunk/Long.cpp": "\n" * 601}, "602 lines"),
    (rules.lengths, {"test/numerics/long.py": "\n" * 601}, "601 lines"),
    (rules.lengths, {"tools/snugc/snugc.cpp": "int main() {\n" + "\n" * 60 + "}\n"}, "stays under 60"),
    (rules.placement, {"lib/solver/Ops.td": ""}, "lib/ holds no .td"),
    (rules.placement, {"dialects/nn/Passes.td": PASS}, "dialects hold no passes"),
    (CODES, {"docs/command-line.md": "| 0 | done |\n"}, "exit code 70 is None"),
    (CODES, {"docs/command-line.md": GOOD["docs/command-line.md"] + "| 9 | new |\n"}, "exit code 9 is 'new'"),
    (CODES, {"docs/command-line.md": "| 0 | done |\n| 70 | fault |\n"}, "exit code 70 is 'fault'"),
    (CODES, {"include/snug/ExitCodes.h": ""}, "no table of exit codes"),
    (rules.stages, {"docs/pipeline.md": "| import | `lib/import` |\n"}, "its stages are ['import'], Stages.def has"),
    (rules.stages, {"docs/pipeline.md": "| plan | `a` |\n| import | `b` |\n"}, "its stages are ['plan', 'import']"),
    (rules.named_files, {"CONTRIBUTING.md": "copy `passes/chunk/Gone.cpp`"}, "there is no passes/chunk/Gone.cpp"),
    (rules.named_files, {"docs/a.md": "see [b](gone.md#x)"}, "links to gone.md"),
    (rules.stages, {"lib/driver/Stages.def": "", "docs/pipeline.md": ""}, "Stages.def has []"),
]


@pytest.mark.parametrize("rule,changes,message", CASES, ids=[f"{c[0].__name__}-{i}" for i, c in enumerate(CASES)])
def test_violation_is_seen(rule, changes, message, tree):
    found = rule(tree(changes))
    assert any(message in text for text in found), found


def test_symbolic_link_is_seen(tmp_path):
    (tmp_path / ".venv").symlink_to("elsewhere")
    for command in (["init", "-q"], ["add", ".venv"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    assert rules.symbolic_links(tmp_path) == [".venv is a symbolic link"]


@pytest.mark.parametrize("name,want", [("SelectChunks", "select-chunks"), ("LowerONNXNodes", "lower-onnx-nodes"),
                                       ("Fuse", "fuse"), ("Tile2D", "tile2-d")])
def test_kebab(name, want):
    assert rules.kebab(name) == want
