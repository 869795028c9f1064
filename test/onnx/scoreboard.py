#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the tests of the `onnx` package in each mode and prints how many pass.

SNUG_COMPILER and SNUG_RUNTIME name the libraries under test. A result is kept in --cache for as long as these, the test
and this folder stay the same. Exit status 1 if a test fails that expected_failures.txt does not list, or passes although
it does.
"""
import argparse
import collections
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import random
import sys
import time

import expected
import modes
import onnx

import cases

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 600  # of one test; the light models take the most, where the machine does other things as well


def judge(case, mode):
    """"" where the case passes, else why not."""
    import backend  # not before: the parent, of which new workers are forked, must have no thread
    rep = backend.SnugBackend.prepare(case.model, "CPU", mode=mode)
    try:
        for inputs, want in case.data_sets:
            got = list(rep.run(inputs))
            cases.Runner.assert_similar_outputs(cases.flat(want), cases.flat(got), case.rtol, case.atol)
        return ""
    except backend.snug.Error as error:
        return f"exit {error.code}: {error}"
    except AssertionError as error:
        return "wrong result: " + " ".join(str(error).split())
    except Exception as error:  # what a binding cannot take is a failure of that test alone
        return f"{type(error).__name__}: {error}"


def work(all_cases, connection):
    while (task := connection.recv()) is not None:
        start = time.monotonic()
        why = judge(all_cases[task[0]], task[1])
        connection.send((why, time.monotonic() - start))


class Worker:
    def __init__(self, all_cases):
        self.all_cases, self.process = all_cases, None
        self.restart()

    def restart(self):
        if self.process:
            self.process.kill()
            self.process.join()
        context = multiprocessing.get_context("fork")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(self.all_cases, other), daemon=True)
        self.process.start()
        other.close()
        self.task = None

    def begin(self, task):
        self.task, self.start = task, time.monotonic()
        self.connection.send(task)

    def end(self):
        """(why, seconds) of the task, once there is something to read or it took too long."""
        try:
            if not self.connection.poll():
                raise TimeoutError
            result = self.connection.recv()
        except (EOFError, OSError) as error:
            self.process.join(1 if not isinstance(error, TimeoutError) else 0)
            late = isinstance(error, TimeoutError)
            why = f"takes more than {LIMIT_S} s" if late else f"the process died with code {self.process.exitcode}"
            result = why, time.monotonic() - self.start
            self.restart()
        self.task = None
        return result


def run_all(all_cases, tasks, jobs, done):
    """Calls done(task, (why, seconds)) for each task (index of the case, mode)."""
    tasks = collections.deque(tasks)
    workers = [Worker(all_cases) for _ in range(min(jobs, len(tasks)))]
    while tasks or any(worker.task for worker in workers):
        for worker in workers:
            if tasks and not worker.task:
                worker.begin(tasks.popleft())
        busy = {worker.connection: worker for worker in workers if worker.task}
        ready = multiprocessing.connection.wait(busy, 1)
        for connection, worker in busy.items():
            if connection in ready or time.monotonic() - worker.start > LIMIT_S:
                task = worker.task
                done(task, worker.end())
    for worker in workers:
        worker.process.kill()


def program_digest():
    digest = hashlib.sha256(onnx.__version__.encode())
    for path in [*(pathlib.Path(os.environ[name]) for name in ("SNUG_COMPILER", "SNUG_RUNTIME")),
                 *sorted(HERE.glob("*.py")), *sorted((HERE.parents[1] / "python/snug").glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def load_results(path, program):
    """Results of this very program: key -> [why, seconds]."""
    try:
        with open(path) as file:
            if file.readline().strip() == program:
                return {key: [why, seconds] for key, why, seconds in map(json.loads, file)}
    except (OSError, ValueError):
        pass
    return {}


def evaluate(chosen, all_cases, jobs, cache):
    """Results of the tasks: task -> (why, seconds)."""
    program = program_digest()
    kept = load_results(cache, program)
    keys = {(index, mode): f"{all_cases[index].digest()}-{mode}" for index, mode in chosen}
    results = {task: tuple(kept[key]) for task, key in keys.items() if key in kept}
    fresh = not kept
    cache.parent.mkdir(parents=True, exist_ok=True)
    with open(cache, "w" if fresh else "a") as file:
        if fresh:
            print(program, file=file)

        def done(task, result):
            results[task] = result
            print(json.dumps([keys[task], *result]), file=file, flush=True)

        run_all(all_cases, [task for task in chosen if task not in results], jobs, done)
    return results


def summary(results, all_cases):
    """The table: suite, then passes of all by mode."""
    counts = collections.Counter()
    for (index, mode), (why, _) in results.items():
        counts[all_cases[index].suite, mode, "all"] += 1
        counts[all_cases[index].suite, mode, "passed"] += not why
    lines = [f"{'suite':18}" + "".join(f"{mode:>22}" for mode in modes.MODES)]
    for suite in cases.SUITES:
        cells = [(counts[suite, mode, "passed"], counts[suite, mode, "all"]) for mode in modes.MODES]
        if any(total for _, total in cells):
            lines.append(f"{suite:18}" + "".join(f"{p:>8} / {n:<4} {p / max(n, 1):6.1%}" for p, n in cells))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--suite", action="append", choices=cases.SUITES, help="default: all")
    parser.add_argument("--mode", action="append", choices=modes.MODES, help="default: all")
    parser.add_argument("--match", metavar="TEXT", help="only tests whose name holds TEXT")
    parser.add_argument("--sample", type=int, metavar="N", help="N tests, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("onnx-results.jsonl"))
    parser.add_argument("--propose", type=pathlib.Path, metavar="FILE", help="write a draft of expected_failures.txt")
    parser.add_argument("--failures", action="store_true", help="print each failure and its reason")
    args = parser.parse_args()
    all_cases = cases.load(args.suite or cases.SUITES)
    indices = [i for i, case in enumerate(all_cases) if not args.match or args.match in case.name]
    if args.sample:
        indices = sorted(random.Random(args.seed).sample(indices, min(args.sample, len(indices))))
    chosen = [(index, mode) for index in indices for mode in args.mode or modes.MODES
              if mode != "cuda" or all_cases[index].suite != "light"]  # image classifiers are hours of a simulator's work
    start = time.monotonic()
    results = evaluate(chosen, all_cases, args.jobs, args.cache)
    print(summary(results, all_cases))
    took = sum(seconds for _, seconds in results.values())
    slowest = sorted(results.items(), key=lambda item: -item[1][1])[:3]
    print(f"{len(results)} results in {time.monotonic() - start:.0f} s; a test takes {1000 * took / max(len(results), 1):.0f} "
          "ms, the slowest " + ", ".join(f"{all_cases[i].name} ({mode}) {s:.1f} s" for (i, mode), (_, s) in slowest))
    if args.failures:
        for (index, mode), (why, _) in sorted(results.items()):
            if why:
                print(f"{mode} {all_cases[index].name}: {why[:300]}")
    outcomes = {(all_cases[i], mode): why for (i, mode), (why, _) in sorted(results.items())}
    if args.propose:
        head = [line for line in (HERE / "expected_failures.txt").read_text().splitlines() if line.startswith("#")]
        args.propose.write_text("\n".join(head + expected.propose(outcomes)) + "\n")
    table = expected.Table.read(HERE / "expected_failures.txt")
    problems = table.problems(outcomes)
    for problem in problems:
        print(problem)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
