# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A cluster of this one machine: a network namespace for each device, with links between them that are as slow as one likes.

Units of units as in a topology file, outermost level first: (fan-out, bytes/s of one flow between two siblings, bytes/s of all
that leaves a unit). Each device is in a namespace of its own, at a bridge that carries anything. What leaves a device is shaped
by how far it goes: one class for each level, of the rate of one flow. What leaves a unit of several devices for its siblings
goes through one queue of the unit's own, in the namespace of the bridges, so that its devices share it. Directions are shaped apart."""
import os
import shutil
import subprocess

BURST = 16384        # bytes that may pass at once
QUEUE = 16 << 20     # bytes that wait: no less than all that senders may have under way, so that nothing is dropped
MTU = 9000           # so that headers are 0.7 % of what is sent
PORT = "eth0"


class CannotShape(Exception):
    """What this machine lacks."""


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        raise CannotShape(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


class Cluster:
    """with Cluster(levels) as cluster: cluster.inside(device) is how to start a command there."""

    def __init__(self, levels):
        self.levels = levels
        self.size = 1
        for fanout, _, _ in levels:
            self.size *= fanout
        self.name = f"snug{os.getpid()}"
        self.made = []

    def __enter__(self):
        if os.geteuid() != 0:
            raise CannotShape("network namespaces need root")
        for tool in ("ip", "tc"):
            if not shutil.which(tool):
                raise CannotShape(f"no '{tool}' here: install iproute2")
        try:
            self.build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for namespace in self.made:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)

    def namespace(self, device):
        return f"{self.name}-{device}"

    @staticmethod
    def address(device):
        return f"10.77.0.{device + 1}"

    def inside(self, device):
        return ["ip", "netns", "exec", self.namespace(device)]

    def span(self, level):
        """Devices in one unit of a level."""
        span = 1
        for fanout, _, _ in self.levels[level + 1:]:
            span *= fanout
        return span

    def add(self, namespace):
        run("ip", "netns", "add", namespace)
        self.made.append(namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        # A link has its rate at once, after a pause, too, whatever this machine is set to: other ways to control congestion begin
        # anew where nothing was sent for a while, as under a long kernel.
        for name, value in (("tcp_congestion_control", "reno"), ("tcp_slow_start_after_idle", "0")):
            run("ip", "netns", "exec", namespace, "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{name}")

    def build(self):
        self.core = f"{self.name}-core"
        self.add(self.core)
        # A bridge for the devices of each innermost unit of several, and one for each unit around them; `top` joins all.
        self.bridge("top")
        for level in range(len(self.levels) - 1):
            for unit in range(self.size // self.span(level)):
                self.bridge(f"b{level}-{unit}")
                above = "top" if level == 0 else f"b{level - 1}-{unit * self.span(level) // self.span(level - 1)}"
                up, down = f"u{level}-{unit}", f"d{level}-{unit}"
                run("ip", "-n", self.core, "link", "add", up, "mtu", MTU, "type", "veth", "peer", "name", down, "mtu", MTU)
                for port, master in ((up, f"b{level}-{unit}"), (down, above)):
                    run("ip", "-n", self.core, "link", "set", port, "master", master, "up")
                    self.shape(self.core, port, self.levels[level][2])  # up: what leaves the unit; down: what comes
        for device in range(self.size):
            namespace, port = self.namespace(device), f"p{device}"
            self.add(namespace)
            master = "top" if len(self.levels) == 1 else f"b{len(self.levels) - 2}-{device // self.span(len(self.levels) - 2)}"
            run("ip", "-n", self.core, "link", "add", port, "mtu", MTU, "type", "veth", "peer", "name", PORT, "mtu", MTU, "netns", namespace)
            run("ip", "-n", self.core, "link", "set", port, "master", master, "up")
            run("ip", "-n", namespace, "addr", "add", f"{self.address(device)}/24", "dev", PORT)
            run("ip", "-n", namespace, "link", "set", PORT, "gso_max_segs", "1", "up")
            self.classes(device)

    def bridge(self, name):
        run("ip", "-n", self.core, "link", "add", name, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        run("ip", "-n", self.core, "link", "set", name, "up")

    def shape(self, namespace, port, rate):
        run("tc", "-n", namespace, "qdisc", "add", "dev", port, "root", "tbf", "rate", f"{int(rate * 8)}bit", "burst", BURST, "limit", QUEUE)

    def classes(self, device):
        """What a device sends, by the outermost level at which it and the receiver are in different units."""
        namespace = self.namespace(device)
        run("tc", "-n", namespace, "qdisc", "add", "dev", PORT, "root", "handle", "1:", "htb", "default", "99")
        self.rate(namespace, 99, 1e9)
        for level, (_, flow, group) in enumerate(self.levels):
            last = level == len(self.levels) - 1
            self.rate(namespace, level + 1, min(flow, group) if last else flow)
        for other in range(self.size):
            if other != device:
                level = next(i for i in range(len(self.levels)) if device // self.span(i) != other // self.span(i))
                run("tc", "-n", namespace, "filter", "add", "dev", PORT, "parent", "1:", "protocol", "ip", "prio", "1", "u32", "match", "ip",
                    "dst", f"{self.address(other)}/32", "flowid", f"1:{level + 1}")

    def rate(self, namespace, number, rate):
        run("tc", "-n", namespace, "class", "add", "dev", PORT, "parent", "1:", "classid", f"1:{number}", "htb", "rate", f"{int(rate * 8)}bit",
            "burst", BURST, "cburst", BURST)
        run("tc", "-n", namespace, "qdisc", "add", "dev", PORT, "parent", f"1:{number}", "bfifo", "limit", QUEUE)

    def sent(self, device):
        """Bytes that a device has sent so far, by level, headers included."""
        text = run("tc", "-n", self.namespace(device), "-s", "class", "show", "dev", PORT).splitlines()
        sent = [0] * len(self.levels)
        for head, line in zip(text, text[1:]):
            if head.startswith("class htb 1:"):
                number = int(head.split()[2].split(":")[1])
                if number <= len(sent):
                    sent[number - 1] = int(line.split()[1])
        return sent
