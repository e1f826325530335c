"""What a lab consists of: two clusters, their nodes and addresses, and where its files are.

The addresses exist only inside a lab's namespaces, so every lab uses the same ones.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from .environment import state_folder

REPOSITORY = Path(__file__).resolve().parents[3]
LAB = REPOSITORY / "tests" / "lab"
STAND_INS = LAB / "pve" / "bin"
GUEST_BUILD = LAB / "guest" / "build"
GUEST_CACHE = REPOSITORY / "build" / "lab-guest"
# What was built: another preset's tests try that preset's command.
BUILD = Path(os.environ.get("CROSSOVER_BUILD", REPOSITORY / "build" / "dev"))


@dataclass(frozen=True)
class Node:
    name: str
    cluster: str
    number: int
    address: str


@dataclass(frozen=True)
class Cluster:
    name: str
    prefix: str
    nodes: tuple

    @property
    def network(self):
        return f"{self.prefix}.0/24"

    @property
    def gateway(self):
        return f"{self.prefix}.254"

    @property
    def storage(self):
        """The address of the cluster's Ceph."""
        return f"{self.prefix}.100"


def _cluster(name, prefix, first):
    nodes = [Node(f"pve{number:02}", name, index + 1, f"{prefix}.{number}")
             for index, number in enumerate((first, first + 1))]
    return Cluster(name, prefix, tuple(nodes))


EAST = _cluster("east", "10.77.1", 1)
WEST = _cluster("west", "10.77.2", 4)
CLUSTERS = (EAST, WEST)
NODES = {node.name: node for cluster in CLUSTERS for node in cluster.nodes}
BY_NAME = {cluster.name: cluster for cluster in CLUSTERS}


class State:
    """The lab's folder and the places in it."""

    def __init__(self):
        self.folder = Path(state_folder())

    def record(self, sandbox):
        """Where the PID 1 of a sandbox is remembered: `lab`, a node, `switch-CLUSTER` or `storage-CLUSTER`."""
        return self.folder / "run" / sandbox

    def log(self, sandbox):
        return self.folder / "log" / f"{sandbox}.log"

    def ceph(self, cluster):
        return self.folder / "ceph" / cluster.name

    def pmxcfs(self, cluster):
        """What the nodes of a cluster share as /etc/pve."""
        return self.folder / "pmxcfs" / cluster.name

    def node(self, node):
        return self.folder / "nodes" / node.name
