# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a compiled model's plan says that a run starts, read from what `snugc --save-temps` writes, for dims that are fixed."""
import json
import re

CONSTANT = re.compile(r"(%\w+) = arith\.constant (-?\d+) : index")
LOOP = re.compile(r"scf\.for %\w+ = (%\w+) to (%\w+) step (%\w+)")
LAUNCH = re.compile(r"snug_plan\.launch @(\w+)\(.*\) range (%\w+) grain (\d+)")


def launches(plan):
    """(kernel, blocks) in the order of a run; blocks are None where the plan computes them."""
    lines = iter(plan.read_text().splitlines())
    for line in lines:
        if "func.func @main(" in line:
            return block(lines, {})
    raise ValueError(f"{plan} has no @main")


def block(lines, constants):
    """What stands up to the brace that closes the block; names hold in it and in blocks inside of it."""
    constants, found = dict(constants), []
    for line in lines:
        if line.lstrip().startswith("}"):
            return found
        if made := CONSTANT.search(line):
            constants[made[1]] = int(made[2])
        elif loop := LOOP.search(line):
            first, end, step = (constants[name] for name in loop.groups())
            found += block(lines, constants) * len(range(first, end, step))
        elif started := LAUNCH.search(line):
            extent, grain = constants.get(started[2]), int(started[3])
            found.append((started[1], None if extent is None else -(-extent // grain)))
        elif line.endswith("{"):
            raise ValueError(f"what a run does depends on more than loops: {line.strip()}")
    raise ValueError("the block has no end")


def started(log):
    """(kernel, blocks) of the launches in what SNUG_FAKE_CUDA_LOG has written."""
    calls = map(json.loads, log.read_text().splitlines())
    return [(call["kernel"], call["blocks"]) for call in calls if call.get("call") == "cuLaunchKernel"]
