# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The table of failures that are known, each with its reason: expected_failures.txt.

A line `MODES: REASON` begins a block; MODES is * or some of given,dynamic,constant,tight, and REASON is true of all tests
of the block. Each indented line after it says which: op=NAME, all tests whose graph has that op, or a pattern of test
names with * and ?.
"""
import collections
import dataclasses
import fnmatch
import re

import modes


@dataclasses.dataclass
class Line:
    number: int
    modes: tuple
    which: str
    reason: str

    def covers(self, name, ops, mode):
        if mode not in self.modes:
            return False
        return self.which[3:] in ops if self.which.startswith("op=") else fnmatch.fnmatchcase(name, self.which)


class Table:
    def __init__(self, lines):
        self.lines = lines

    @classmethod
    def read(cls, path):
        lines, head = [], None
        for number, text in enumerate(path.read_text().splitlines(), 1):
            if text.strip() and not text.startswith("#"):
                if not text.startswith(" "):
                    head = parse(number, text)
                elif head is None:
                    raise ValueError(f"line {number} belongs to no MODES: REASON")
                else:
                    lines.append(Line(number, head[0], text.strip(), head[1]))
        return cls(lines)

    def problems(self, outcomes):
        """What is wrong with outcomes, (case, mode) -> "" or why it failed."""
        found = []
        for (case, mode), why in outcomes.items():
            ops = case.ops()
            line = next((line for line in self.lines if line.covers(case.name, ops, mode)), None)
            if why and not line:
                found.append(f"FAILED {case.name} ({mode}): {why[:1000]}")
            elif not why and line:
                found.append(f"PASSED {case.name} ({mode}), although line {line.number} expects a failure "
                             f"({line.which}: {line.reason}); narrow that line or take it out")
        return found


def propose(outcomes):
    """Lines that cover just the failures of outcomes, (case, mode) -> "" or why; a draft of the table, whose reasons are
    what was said. A line is about an op where all tests with it fail, else about names that begin alike."""
    failing = collections.defaultdict(dict)  # case -> mode -> why
    by_op, names = collections.defaultdict(set), {}
    for (case, mode), why in outcomes.items():
        names[case.name] = case
        for op in case.ops():
            by_op[op].add(case)
        if why:
            failing[case][mode] = brief(why)
    blocks, covered = collections.defaultdict(list), collections.defaultdict(set)  # (modes, reason), case -> modes

    def add(chosen, reason, which):
        text = "*" if len(chosen) == len(modes.MODES) else ",".join(chosen)
        blocks[text, reason].append(f"  {which}")

    def cover(which, cases, reason):
        chosen = [mode for mode in modes.MODES if all(mode in failing[case] for case in cases)]
        add(chosen, reason, which)
        for case in cases:
            covered[case].update(chosen)

    for op, cases in sorted(by_op.items()):
        said = [set(failing[case].values()) for case in cases if case in failing]
        if len(said) == len(cases) and all(any(f"op {op} " in why for why in whys) for whys in said):
            cover(f"op={op}", cases, "the op is not supported")
    for name, case in sorted(names.items()):
        while left := [mode for mode in modes.MODES if mode in failing[case] and mode not in covered[case]]:
            why = failing[case][left[0]]
            alike = [mode for mode in left if failing[case][mode] == why]
            parts = name.split("_")
            patterns = ["_".join(parts[:count]) + "_*" for count in range(2, len(parts))] + [name]
            for pattern in patterns:
                cases = [c for n, c in names.items() if fnmatch.fnmatchcase(n, pattern)]
                if all(failing[c].get(mode) == why for c in cases for mode in alike):
                    break
            add(alike, why, pattern)
            for c in cases:
                covered[c].update(alike)
    return [line for (chosen, why), which in blocks.items() for line in (f"{chosen}: {why}", *which)]


def brief(why):
    """The first message without what differs from test to test."""
    why = re.sub(r"exit \d+: (snugc: error: )?", "", why.split("\n")[0])
    why = re.sub(r"node '[^']*': |/tmp/\S+", "", why).split(" Mismatched")[0].split("\\x0a")[0]
    why = re.sub(r" of opset \d+| \(\d+ nodes?[^)]*\)|^input '[^']*' |^output '[^']*' ", "", why)
    why = re.sub(r"\[[\w ,+*-]*\]", "[...]", why)
    return why[:150]


def parse(number, text):
    head, _, reason = text.partition(": ")
    if not reason.strip():
        raise ValueError(f"line {number} is not MODES: REASON, but {text!r}")
    chosen = modes.MODES if head == "*" else tuple(head.split(","))
    if not set(chosen) <= set(modes.MODES):
        raise ValueError(f"line {number} has a mode that there is none of: {head}")
    return chosen, reason.strip()
