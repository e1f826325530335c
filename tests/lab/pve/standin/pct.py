"""pct, as far as containers that only lie there go: list, status, config, unlock."""
import os
import re

from . import cli, guests, node
from .cli import Command, boolean, vmid
from .errors import Die


def path(number):
    return f"nodes/{node.name()}/lxc/{number}.conf"


def load(number):
    """The main section; unlike with VMs a value that fails its check is kept. `lxc.*` lines may use `=`."""
    try:
        with open(node.path(f"/etc/pve/{path(number)}"), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        raise Die(f"Configuration file '{path(number)}' does not exist", 2) from None
    values, description, raw_lxc = {}, [], []
    for line in lines:
        if line.startswith("["):
            break
        if line.startswith("#"):
            description.append(line[1:])
        elif match := re.fullmatch(r"(lxc\.[a-z0-9_.-]+)\s*[:=]\s*(.*?)\s*", line):
            raw_lxc.append(f"{match[1]}: {match[2]}")
        elif match := re.fullmatch(r"([a-z][a-z_]*\d*):\s*(.+?)\s*", line):
            values[match[1]] = match[2]
    if description:
        values["description"] = "%0A".join(description) + "%0A"
    return values, raw_lxc


def ids():
    try:
        names = os.listdir(node.path(f"/etc/pve/nodes/{node.name()}/lxc"))
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"([1-9]\d*)\.conf", name)))


def list_containers():
    rows = [(number, load(number)[0]) for number in ids()]
    if rows:
        print("%-10s %-10s %-12s %-20s" % ("VMID", "Status", "Lock", "Name"))
    for number, values in rows:
        print("%-10s %-10s %-12s %-20s" % (number, "stopped", values.get("lock", ""), values.get("hostname", f"CT{number}")))


def status(vmid, verbose=0):
    load(vmid)
    print("status: stopped")


def config(vmid, current=0, snapshot=None):
    values, raw_lxc = load(vmid)
    for key in sorted(values):
        print(f"{key}: {values[key]}")
    for line in raw_lxc:
        print(line)


def unlock(vmid):
    """Unlike qm: an error if there is no lock."""
    values, _ = load(vmid)
    with guests.flock(f"/run/lock/lxc/pve-config-{vmid}.lock"):
        if "lock" not in values:
            raise Die("no lock found trying to remove any lock")
        with open(node.path(f"/etc/pve/{path(vmid)}"), encoding="utf-8") as file:
            main, bracket, rest = file.read().partition("\n[")
        main = re.sub(r"(?m)^lock:.*\n?", "", main)
        guests.replace(f"/etc/pve/{path(vmid)}", (main + bracket + rest).encode())


def refuse(vmid, **_):
    load(vmid)
    raise Die("the lab runs no containers")


CT = ("vmid", vmid)
COMMANDS = {
    "list": Command(list_containers, "list"),
    "status": Command(status, "status <vmid> [OPTIONS]", [CT], {"verbose": boolean}),
    "config": Command(config, "config <vmid> [OPTIONS]", [CT], {"current": boolean, "snapshot": str}),
    "unlock": Command(unlock, "unlock <vmid>", [CT]),
    "start": Command(refuse, "start <vmid> [OPTIONS]", [CT]),
    "stop": Command(refuse, "stop <vmid> [OPTIONS]", [CT]),
    "shutdown": Command(refuse, "shutdown <vmid> [OPTIONS]", [CT]),
}


def unknown(words):
    return f"ERROR: unknown command 'pct {' '.join(words[:1])}'\nUSAGE: pct <COMMAND> [ARGS] [OPTIONS]\n"


def main():
    cli.main("pct", COMMANDS, unknown)
