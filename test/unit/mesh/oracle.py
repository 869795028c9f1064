# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The cost model of docs/topology.md a second time, for tests: rings are walked device by device, and what a transformer
sends is in closed form. Shares no code and no structure with lib/solver. Seconds, bytes/s; inf where nothing is sent."""
import functools
import itertools
import math
from collections import defaultdict

TIE = 1e-9
FAMILY_ORDER = ["1D", "column-first", "hierarchical 1D", "row-first"]


def address(device, fanouts):
    """The unit index at each level, outermost first."""
    result = []
    for fanout in reversed(fanouts):
        device, index = divmod(device, fanout)
        result.insert(0, index)
    return tuple(result)


@functools.lru_cache(maxsize=None)
def crossings(fanouts, d1, d2, axis):
    """[(level, rings that leave a unit, members of the smallest of these in it)] of all units that a hop leaves."""
    if axis == 1:
        rings = [[row * d2 + column for row in range(d1)] for column in range(d2)]
    else:
        rings = [[row * d2 + column for column in range(d2)] for row in range(d1)]
    leaving = defaultdict(set)
    for number, ring in enumerate(rings):
        for here, there in zip(ring, ring[1:] + ring[:1]):
            a, b = address(here, fanouts), address(there, fanouts)
            if a != b:
                level = next(i for i in range(len(fanouts)) if a[i] != b[i])
                leaving[a[:level + 1]].add(number)
    result = []
    for unit, numbers in leaving.items():
        inside = [sum(address(device, fanouts)[:len(unit)] == unit for device in rings[n]) for n in numbers]
        result.append((len(unit) - 1, len(numbers), min(inside)))
    return result


class Links:
    """levels: [(fanout, p2p, group, latency)]."""

    def __init__(self, levels, rails):
        self.levels, self.rails = levels, rails
        self.fanouts = tuple(level[0] for level in levels)
        self.devices = math.prod(self.fanouts)

    def ring(self, d1, d2, axis):
        """(bandwidth of each ring, latency)."""
        bandwidth, latency = math.inf, 0.0
        for level, rings, members in crossings(self.fanouts, d1, d2, axis):
            _, p2p, group, start = self.levels[level]
            bandwidth = min(bandwidth, p2p * members if self.rails else p2p, group / rings)
            latency = max(latency, start)
        return bandwidth, latency

    def changed(self, level, key, value):
        levels = [list(one) for one in self.levels]
        levels[level][{"p2p_gbps": 1, "group_gbps": 2}[key]] = value
        return Links([tuple(one) for one in levels], self.rails)


def candidates(devices):
    """[(d1, d2, family)] of the whole search space."""
    for d1 in range(1, devices + 1):
        if devices % d1:
            continue
        d2 = devices // d1
        if d2 == 1:
            yield d1, d2, "1D"
            continue
        yield d1, d2, "column-first"
        if d1 > 1:
            yield d1, d2, "row-first"
            yield d1, d2, "hierarchical 1D"


def cuts(d1, d2, family):
    """In how many parts outputs and inputs are cut."""
    return {"1D": (d1, 1), "hierarchical 1D": (d1 * d2, 1), "column-first": (d1, d2), "row-first": (d2, d1)}[family]


def is_admissible(model, outputs, inputs):
    n = outputs * inputs
    kv = model["kv_heads"]
    return (model["heads"] % n == 0 and (kv % n == 0 or n % kv == 0) and model["hidden"] % inputs == 0
            and model["ffn"] % (outputs if model["reduce_ups"] else n) == 0)


def layer_time(links, model, tokens, d1, d2, family, sequence):
    """Seconds of one layer: [2.3] latencies of all collectives, and C_o (o-1), C_i (i-1) over N and the bandwidths."""
    outputs, inputs = cuts(d1, d2, family)
    n, e, h = d1 * d2, model["element_bytes"], model["hidden"]
    first, second = links.ring(d1, d2, 1), links.ring(d1, d2, 2)
    if family == "hierarchical 1D":
        (b1, a1), (b2, a2) = first, second
        moved = e * tokens * h / n * (4 * (d1 - 1) / b1 + 4 * d1 * (d2 - 1) / b2)
        return moved + (4 if sequence else 2) * a1 + 4 * a2
    (bo, ao), (bi, ai) = (second, first) if family == "row-first" else (first, second)
    q = model["heads"] * model["head_dim"]
    kv = max(model["kv_heads"], n) * model["head_dim"]
    f, ups, reduced = model["ffn"], model["ups"], model["reduce_ups"]
    c_o = 4 * h
    c_i = (q + 2 * kv) + q + (2 * ups * f if reduced else (ups + 1) * f)
    time = e * tokens / n * (c_o * (outputs - 1) / bo + c_i * (inputs - 1) / bi)
    if outputs > 1:
        time += (4 if sequence else 2) * ao
    if inputs > 1:
        rows = tokens / outputs if sequence else tokens
        time += 2 * 2 * (inputs - 1) / inputs * rows * model["moments"] * 4 / bi
        time += (2 + ups + (0 if reduced else 1) + 2) * ai
    return time


def layouts(links, model, tokens, candidate):
    """{layout: seconds of all layers}, those that cannot be left out."""
    d1, d2, family = candidate
    outputs, _ = cuts(d1, d2, family)
    result = {"replicated residual": model["layers"] * layer_time(links, model, tokens, d1, d2, family, False)}
    if outputs > 1 and tokens % outputs == 0:
        result["sequence-sharded residual"] = model["layers"] * layer_time(links, model, tokens, d1, d2, family, True)
    return result


def is_faster(a, b):
    return a * (1 + TIE) < b


def times(links, problem):
    """{candidate: seconds of all phases} of those that are admissible."""
    result = {}
    for candidate in candidates(links.devices):
        if candidate[2] in problem["families"] and is_admissible(problem["model"], *cuts(*candidate)):
            result[candidate] = sum(phase["runs"] * min(layouts(links, problem["model"], phase["tokens"], candidate)
                                                        .values()) for phase in problem["phases"])
    return result


def ranked(all_times):
    """Candidates, best first: ties by larger d1, then by family."""
    left, result = dict(all_times), []
    while left:
        least = min(left.values())
        tied = [c for c, time in left.items() if not is_faster(least, time)]
        best = min(tied, key=lambda c: (-c[0], FAMILY_ORDER.index(c[2])))
        result.append(best)
        del left[best]
    return result


def flip_errors(links, problem, plan, best):
    """What is wrong with the stated flips: between here and a flip the best stays the best; beyond it is not."""
    found = {(f["level"], f["key"], f["at"] is None or f["at"] > f["now"]): f for f in plan["flips"]}
    for level, key, up in itertools.product(range(len(links.levels)), ["p2p_gbps", "group_gbps"], [False, True]):
        now = links.levels[level][1 if key == "p2p_gbps" else 2]
        flip = found.pop((level, key, up), None)
        at = flip["at"] * 1e9 if flip and flip["at"] is not None else now * (1e4 if up else 1e-4)
        for share in (0.2, 0.7, 0.99, 0.9999):
            here = times(links.changed(level, key, now * (at / now) ** share), problem)
            if is_faster(min(here.values()) * (1 + TIE), here[best]):
                yield f"levels[{level}].{key}: another is better before {at}, at {share}"
        if flip and flip["at"] is not None:
            beyond = times(links.changed(level, key, at * (1 + 1e-5 if up else 1 - 1e-5)), problem)
            stated = beyond[(*flip["mesh"], flip["family"])]
            if not stated < beyond[best]:
                yield f"levels[{level}].{key}: the best is still the best beyond {at}"
            if min(beyond.values()) * (1 + 1e-7) < stated:
                yield f"levels[{level}].{key}: {flip['mesh']} is not the best beyond {at}"
    if found:
        yield f"flips stated twice: {found}"
