# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Memory of a process seen from outside: its resident anonymous bytes, as the kernel counts them.

A process under test speaks in steps: it prints a line `STEP [JSON]` when it has reached a step and waits for a line on
its standard input before it goes on. So the watcher knows which growth belongs to which step.
"""
import json
import subprocess
import threading
import time


def resident_bytes(pid, what="RssAnon"):
    """RssAnon: anonymous pages now; VmRSS: all pages now; VmHWM: the most of these since clear_peak()."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith(what + ":"):
                return int(line.split()[1]) * 1024
    return 0  # a process that has ended


def clear_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


class Steps:
    """A process that speaks in steps. Leave the `with` block to end it."""

    def __init__(self, command, env=None):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def go(self, step, first=False, exact=False, watch=True, timeout=600):
        """Lets the process go on to `step`; returns (bytes there, largest bytes on the way, what it said).

        The way is sampled every millisecond, which misses shorter peaks. `exact` adds the kernel's own peak of all
        pages, of files too: for ways that read no file, or none that is not resident already. Without `watch` nothing is
        sampled, for ways that are timed.
        """
        peak, done, pid = [0], threading.Event(), self.process.pid
        before = resident_bytes(pid), resident_bytes(pid, "VmRSS")
        if exact:
            clear_peak(pid)

        def sample():
            while not done.is_set():
                try:
                    peak[0] = max(peak[0], resident_bytes(pid))
                except OSError:
                    return
                time.sleep(0.001)
        sampler = threading.Thread(target=sample, daemon=True)
        if watch:
            sampler.start()
        timer = threading.Timer(timeout, self.process.kill)
        timer.start()
        try:
            if not first:
                self.process.stdin.write("\n")
                self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            done.set()
            timer.cancel()
            if watch:
                sampler.join()
        name, _, said = line.strip().partition(" ")
        if name != step:
            self.process.kill()
            raise RuntimeError(f"{self.process.args[0]}: expected step {step!r}, it said {line!r}; its errors:\n"
                               f"{self.process.communicate()[1]}")
        now = resident_bytes(pid)
        if exact:
            peak[0] = max(peak[0], before[0] + resident_bytes(pid, "VmHWM") - before[1])
        return now, max(peak[0], now), json.loads(said) if said else None


def arrive(step, **said):
    """The other side, for processes in Python."""
    print(step, json.dumps(said) if said else "", flush=True)
    input()
