# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a compiled model's plan says that a run starts, read from what `snugc --save-temps` writes, for dims that are fixed."""
import json
import re

LOOP = re.compile(r"scf\.for (%\w+) = (%\w+) to (%\w+) step (%\w+)")
LAUNCH = re.compile(r"snug_plan\.launch @(\w+)\(.*\) range (%\w+) grain (\d+)(?: library <[^>]*spatial = (\d+))?")
LIBRARIES = {False: "cublasLtMatmul", True: "cudnnBackendExecute"}  # by whether it is a convolution
CONSTANT = re.compile(r"(%\w+) = arith\.constant (-?\d+) : index")
AFFINE = re.compile(r"(%\w+) = affine\.(min|max|apply) affine_map<\(([^)]*)\)(?:\[([^\]]*)\])? -> \((.*)\)>\(([^)]*)\)(?:\[([^\]]*)\])?")
BINARY = re.compile(r"(%\w+) = arith\.(\w+) (%\w+), (%\w+) : index")
OPERATIONS = {"addi": lambda a, b: a + b, "subi": lambda a, b: a - b, "muli": lambda a, b: a * b, "minsi": min, "maxsi": max,
              "ceildivui": lambda a, b: -(-a // b), "ceildivsi": lambda a, b: -(-a // b), "divui": lambda a, b: a // b}


def launches(plan):
    """(names, blocks) in the order of a run: what it is started as, a kernel or, of those a library may do, its call; blocks are None
    where what they depend on is no number in the plan."""
    lines = iter(plan.read_text().splitlines())
    for line in lines:
        if "func.func @main(" in line:
            return list(run(parse(lines), {}))
    raise ValueError(f"{plan} has no @main")


def parse(lines):
    """What stands up to the brace that closes a block, loops with their bodies."""
    found = []
    for line in lines:
        if line.lstrip().startswith("}"):
            return found
        if loop := LOOP.search(line):
            found.append((loop, parse(lines)))
        elif made := LAUNCH.search(line) or CONSTANT.search(line) or AFFINE.search(line) or BINARY.search(line):
            found.append((made, None))
        elif line.endswith("{"):
            raise ValueError(f"what a run does depends on more than loops: {line.strip()}")
    raise ValueError("the block has no end")


def run(statements, numbers):
    for made, body in statements:
        if made.re is LOOP:
            variable, *bounds = made.groups()
            for value in range(*(numbers[name] for name in bounds)):
                yield from run(body, {**numbers, variable: value})
        elif made.re is LAUNCH:
            extent, grain = numbers.get(made[2]), int(made[3])
            yield (made[1], LIBRARIES[made[4] != "0"]) if made[4] else (made[1],), None if extent is None else -(-extent // grain)
        else:
            numbers[made[1]] = number(made, numbers)


def number(made, numbers):
    """What an op computes; None where that is not known."""
    if made.re is CONSTANT:
        return int(made[2])
    if made.re is BINARY:
        operands = [numbers.get(made[3]), numbers.get(made[4])]
        return None if None in operands or made[2] not in OPERATIONS else OPERATIONS[made[2]](*operands)
    names = [name.strip() for name in f"{made[3]},{made[4] or ''}".split(",") if name.strip()]
    values = [numbers.get(name.strip()) for name in f"{made[6]},{made[7] or ''}".split(",") if name.strip()]
    if None in values:
        return None
    # Affine expressions are those of Python, but for the names of divisions; a ceildiv b is -(-a // b).
    if "ceildiv" in made[5]:
        return None
    results = eval(f"[{made[5].replace('floordiv', '//').replace('mod', '%')}]", {"__builtins__": {}}, dict(zip(names, values)))
    return {"min": min, "max": max, "apply": lambda one: one[0]}[made[2]](results)


def started(log):
    """(kernel, or the library's call; blocks, None of a library) of what SNUG_FAKE_CUDA_LOG has written."""
    calls = map(json.loads, log.read_text().splitlines())
    return [(call.get("kernel", call["call"]), call.get("blocks")) for call in calls
            if call.get("call") in ("cuLaunchKernel", *LIBRARIES.values())]


def agree(said, done):
    """Whether `done` is what a plan says: all launches with blocks, in its order; one whose blocks are not known may have none."""
    rest = iter(done)
    next_one = next(rest, None)
    for names, blocks in said:
        if next_one and next_one[0] in names and (None in (blocks, next_one[1]) or blocks == next_one[1]):
            next_one = next(rest, None)
        elif blocks:
            return False
    return next_one is None
