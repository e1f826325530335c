"""One bridge per cluster, each in a network namespace of its own, and a routed link between the two."""

import json
import subprocess

from .layout import CLUSTERS, EAST, WEST
from .process import LabError, alive, wait_until
from .sandbox import create

LINK = {EAST: "10.77.0.1", WEST: "10.77.0.2"}
# Its own, or it were one of its ports' and changed with them: nodes would send into the void until they noticed.
BRIDGE_MAC = "02:00:00:00:00:01"
# Room for one packet of the largest size the kernel builds, or small limits would drop those.
BURST = "128kb"


def other(cluster):
    return WEST if cluster is EAST else EAST


def switch(cluster):
    return f"switch-{cluster.name}"


def _in_network(pid, *argv, text=None):
    """Runs a command in the network of a sandbox, with the host's file system."""
    done = subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", *argv], input=text, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def _ip(pid, *lines):
    _in_network(pid, "ip", "-batch", "-", text="\n".join(lines) + "\n")


def _forward():
    with open("/proc/sys/net/ipv4/ip_forward", "w") as setting:
        setting.write("1")


def up(state, lab):
    """Makes both switches and the link."""
    pids = {cluster: create(state.record(switch(cluster)), _forward, state.log(switch(cluster)), within=lab)
            for cluster in CLUSTERS}
    _ip(pids[EAST], f"link add name wan type veth peer name wan netns {pids[WEST]}")
    for cluster, pid in pids.items():
        _ip(pid, "link set lo up", f"link add name bridge address {BRIDGE_MAC} type bridge", f"addr add {cluster.gateway}/24 dev bridge",
            "link set bridge up", f"addr add {LINK[cluster]}/30 dev wan", "link set wan up",
            f"route add {other(cluster).network} via {LINK[other(cluster)]} metric 100")


def plug(state, cluster, name, pid, address):
    """Gives a sandbox its cable to the cluster's switch and its address."""
    switch_pid = alive(state.record(switch(cluster)))
    unplug(state, cluster, name)
    _ip(switch_pid, f"link add name {name} type veth peer name eth0 netns {pid}", f"link set {name} master bridge up")
    _ip(pid, "link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up",
        f"route add {other(cluster).network} via {cluster.gateway}")


def unplug(state, cluster, name):
    """The kernel removes a dead sandbox's cable some time later; its name must be free before that."""
    switch_pid = alive(state.record(switch(cluster)))

    def gone():
        subprocess.run(["nsenter", f"--net=/proc/{switch_pid}/ns/net", "ip", "link", "del", name], capture_output=True)
        return not _has_link(switch_pid, name)

    wait_until(gone, f"cable of {name}", timeout=5)


def _has_link(pid, name):
    return any(link["ifname"] == name for link in json.loads(_in_network(pid, "ip", "-json", "link")))


def _switches(state):
    return {cluster: alive(state.record(switch(cluster))) for cluster in CLUSTERS}


def limit(state, rate):
    for pid in _switches(state).values():
        _in_network(pid, "tc", "qdisc", "replace", "dev", "wan", "root", "tbf", "rate", rate, "burst", BURST,
                    "latency", "100ms")


def unlimit(state):
    for pid in _switches(state).values():
        if _limit(pid):
            _in_network(pid, "tc", "qdisc", "del", "dev", "wan", "root")


def cut(state):
    """Drops every packet between the clusters without a word, as a broken line does: connections stay open."""
    for cluster, pid in _switches(state).items():
        if not _is_cut(cluster, pid):
            _ip(pid, f"route add blackhole {other(cluster).network} metric 1")


def restore(state):
    for cluster, pid in _switches(state).items():
        if _is_cut(cluster, pid):
            _ip(pid, f"route del blackhole {other(cluster).network} metric 1")


def _is_cut(cluster, pid):
    return "blackhole" in _in_network(pid, "ip", "route", "show", other(cluster).network)


def _limit(pid):
    words = _in_network(pid, "tc", "qdisc", "show", "dev", "wan").split()
    return words[words.index("rate") + 1] if "tbf" in words else None


def status(state):
    """(`up` or `cut`, the limit or None)."""
    pid = alive(state.record(switch(EAST)))
    return "cut" if _is_cut(EAST, pid) else "up", _limit(pid)
