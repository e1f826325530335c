"""The node a command runs on: where its files are, its name, what a call costs.

PVE_ROOT, if set, is put in front of every path: a plain folder then plays the node, for tests without the lab."""
import json
import os
import socket
import time

ROOT = os.environ.get("PVE_ROOT", "").rstrip("/")


def path(absolute):
    """Where a path of the node really is."""
    return ROOT + absolute


def settings():
    """node.json of the lab: node, cluster, address, guest_kernel, guest_initrd and, optionally, accel."""
    try:
        with open(path("/etc/crossover-lab/node.json"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def name():
    return settings().get("node") or socket.gethostname().split(".")[0]


def pay_command_cost():
    """A call of a real Perl command costs about 0.6 s; the lab can ask for that."""
    try:
        with open(path("/etc/crossover-lab/command-cost"), encoding="utf-8") as file:
            time.sleep(float(file.read() or 0))
    except (FileNotFoundError, ValueError):
        pass


def run_dir():
    directory = path("/var/run/qemu-server")
    os.makedirs(directory, exist_ok=True)
    return directory


def has_quorum():
    """pmxcfs takes the write bits away without quorum; `local` shows it even where root may write anything."""
    _, cluster = members()
    if cluster and not cluster.get("quorate"):
        return False
    try:
        return bool(os.lstat(path("/etc/pve/local")).st_mode & 0o222)
    except FileNotFoundError:
        return True


def members():
    """The nodes of the cluster, {name: {"id", "online", "ip"}}, and its {"name", "quorate", ...} or None."""
    try:
        with open(path("/etc/pve/.members"), encoding="utf-8") as file:
            data = json.load(file)
    except (FileNotFoundError, ValueError):
        data = {}
    if "nodelist" not in data:
        address = settings().get("address", "127.0.0.1").split("/")[0]
        return {name(): {"id": 0, "online": 1, "ip": address}}, None
    return data["nodelist"], data.get("cluster")
