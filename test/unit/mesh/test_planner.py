# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The C++ planner against the oracle on random problems, and the presets against their documentation."""
import json
import math
import os
import random
import re
import subprocess
from pathlib import Path

import oracle

PLAN_MESH = os.environ["SNUG_PLAN_MESH"]
PAGE = Path(__file__).resolve().parents[3] / "docs" / "topology.md"
COUNT = 10000
SHARE_WITH_FLIPS = 10  # every so many-th problem also checks its flips


def plans(problems, *options):
    text = "".join(json.dumps(problem) + "\n" for problem in problems)
    run = subprocess.run([PLAN_MESH, *options], input=text, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def random_levels(rng):
    while True:
        fanouts = [rng.choice([1, 2, 2, 2, 3, 4, 4, 5, 6, 7, 8]) for _ in range(rng.choice([1, 1, 2, 2, 3]))]
        if math.prod(fanouts) <= 64:
            break
    levels = []
    for fanout in fanouts:
        p2p = rng.choice([25.0, 300.0, 10 ** rng.uniform(-1, 3)])
        group = p2p * rng.choice([1, 1, 2, 4, rng.uniform(1, 9)])
        levels.append({"fanout": fanout, "p2p_gbps": p2p, "group_gbps": group,
                       "latency_us": rng.choice([0, 0, 10 ** rng.uniform(-1, 2)])})
    return levels


def random_problem(rng):
    levels = random_levels(rng)
    devices = math.prod(level["fanout"] for level in levels)
    heads = rng.choice([devices, 2 * devices, 3 * devices, 24, 32])
    head_dim = rng.choice([16, 64, 128])
    divisors = [d for d in range(1, heads + 1) if heads % d == 0]
    hidden = rng.choice([heads * head_dim, rng.randrange(1, 200) * 8])
    model = {"layers": rng.choice([1, 12, 48]), "hidden": hidden, "heads": heads,
             "kv_heads": rng.choice([heads, rng.choice(divisors)]), "head_dim": head_dim,
             "ffn": rng.choice([4 * hidden, rng.randrange(1, 100) * devices, rng.randrange(1, 5000)]),
             "ups": rng.choice([1, 2]), "element_bytes": rng.choice([2, 4]), "moments": rng.choice([0, 1, 2]),
             "reduce_ups": rng.random() < 0.2}
    # Computing takes no time here, so nothing is hidden, and the oracle need not know.
    model["overlaps"] = rng.random() < 0.3
    phases = [{"name": "prefill", "runs": rng.choice([1, 0, 3]), "tokens": rng.choice([64, 2048, rng.randrange(1, 9000)]),
               "keys": 1}]
    if rng.random() < 0.6:
        phases.append({"name": "decode", "runs": rng.choice([1, 100, 1000]), "tokens": rng.choice([1, 2, 8, 12]),
                       "keys": 1})
    families = rng.choice([oracle.FAMILY_ORDER, ["1D", "column-first", "row-first"]])
    return {"topology": {"version": 1, "name": "random", "rails": rng.random() < 0.5, "levels": levels}, "model": model,
            "phases": phases, "families": families}


def links_of(problem):
    return oracle.Links([(level["fanout"], level["p2p_gbps"] * 1e9, level["group_gbps"] * 1e9,
                          level["latency_us"] * 1e-6) for level in problem["topology"]["levels"]],
                        problem["topology"]["rails"])


def is_near(a, b):
    return a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b))


def disagreement(problem, plan, with_flips):
    """What the planner says that the oracle does not; empty if nothing."""
    links = links_of(problem)
    expected = oracle.times(links, problem)
    stated = {(*c["mesh"], c["family"]): c for c in plan["candidates"]}
    dropped = {(*c["mesh"], c["family"]) for c in plan["dropped"]}
    wanted = {c for c in oracle.candidates(links.devices) if c[2] in problem["families"]}
    if set(stated) != set(expected) or dropped != wanted - set(expected):
        return f"admissible are {sorted(stated)}, dropped {sorted(dropped)}, not {sorted(expected)}"
    if not all(c["reason"] for c in plan["dropped"]):
        return "dropped without a reason"
    for candidate, time in expected.items():
        one = stated[candidate]
        for axis in (1, 2):
            bandwidth, latency = links.ring(candidate[0], candidate[1], axis)
            ring = one["rings"][axis - 1]
            gbps = math.inf if ring["gbps"] is None else ring["gbps"]
            if not is_near(gbps * 1e9, bandwidth) or not is_near(ring["latency_us"] * 1e-6, latency):
                return f"{candidate}: axis {axis} has {ring}, not {bandwidth}, {latency}"
        for phase, priced in zip(problem["phases"], one["phases"]):
            layouts = oracle.layouts(links, problem["model"], phase["tokens"], candidate)
            seen = {layout["layout"]: layout for layout in priced["layouts"] if "refused" not in layout}
            if seen.keys() != layouts.keys():
                return f"{candidate}: {phase['name']} has layouts {list(seen)}, not {list(layouts)}"
            for layout, seconds in layouts.items():
                if not is_near(seen[layout]["time_ms"] * 1e-3, seconds):
                    return f"{candidate}: {phase['name']} {layout} takes {seen[layout]['time_ms']} ms, not {seconds} s"
            if oracle.is_faster(min(layouts.values()), layouts[priced["layout"]]):
                return f"{candidate}: {phase['name']} takes {priced['layout']}"
        if not is_near(one["time_ms"] * 1e-3, time):
            return f"{candidate} takes {one['time_ms']} ms, not {time} s"
    order = [(*c["mesh"], c["family"]) for c in plan["candidates"]]
    if order[:2] != oracle.ranked(expected)[:2]:
        return f"best are {order[:2]}, not {oracle.ranked(expected)[:2]}"
    if with_flips and len(order) > 1:
        return "; ".join(oracle.flip_errors(links, problem, plan, order[0]))
    return ""


def test_random_problems():
    rng = random.Random(1)
    problems = [random_problem(rng) for _ in range(COUNT)]
    results = plans(problems)
    assert len(results) == COUNT
    kinds, flips = set(), 0
    for number, (problem, plan) in enumerate(zip(problems, results)):
        with_flips = number % SHARE_WITH_FLIPS == 0
        wrong = disagreement(problem, plan, with_flips)
        assert not wrong, f"problem {number}: {wrong}\n{json.dumps(problem)}"
        kinds.update(c["family"] for c in plan["candidates"][:1])
        flips += len(plan["flips"]) if with_flips else 0
    # The problems are no good if all of them end alike.
    assert kinds == set(oracle.FAMILY_ORDER) and flips > COUNT // 20, (kinds, flips)


def test_matrix_of_permuted_devices():
    """A matrix of all pairs, whatever the order of devices inside of units, is planned as the levels it was made of."""
    rng = random.Random(2)
    by_levels, by_matrix = [], []
    while len(by_levels) < 200:
        problem = random_problem(rng)
        levels = [level for level in problem["topology"]["levels"] if level["fanout"] > 1]
        bandwidths = [level["p2p_gbps"] for level in levels]
        if not levels or any(outer > 0.8 * inner for outer, inner in zip(bandwidths, bandwidths[1:])):
            continue  # a level that is no slower than the one inside of it is one with it
        for level in levels:
            level["group_gbps"] = level["p2p_gbps"]  # what a matrix of single flows says
        problem["topology"]["levels"] = levels
        fanouts = [level["fanout"] for level in levels]
        places = list(range(math.prod(fanouts)))
        inner = fanouts[-1]
        for first in range(0, len(places), inner):
            unit = places[first:first + inner]
            rng.shuffle(unit)
            places[first:first + inner] = unit
        addresses = [oracle.address(place, fanouts) for place in places]

        def link(a, b, key):
            if a == b:
                return 0
            return levels[next(i for i, (x, y) in enumerate(zip(a, b)) if x != y)][key]

        topology = {"version": 1, "name": "matrix", "rails": problem["topology"]["rails"],
                    "p2p_gbps": [[link(a, b, "p2p_gbps") for b in addresses] for a in addresses],
                    "latency_us": [[link(a, b, "latency_us") for b in addresses] for a in addresses]}
        by_levels.append(problem)
        by_matrix.append({**problem, "topology": topology})
    for problem, expected, plan in zip(by_levels, plans(by_levels), plans(by_matrix)):
        expected["topology"] = plan["topology"]
        assert plan == expected, json.dumps(problem)


def test_presets_are_documented():
    section = PAGE.read_text().split("## Presets")[1].split("\n## ")[0]
    table = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", section, re.M))
    presets = [preset["topology"] for preset in plans([], "--presets")]
    stated = {preset["name"]: ", ".join(f"{level['fanout']} x {level['p2p_gbps']:.4g}/{level['group_gbps']:.4g}"
                                        for level in preset["levels"]) for preset in presets}
    assert table == stated
