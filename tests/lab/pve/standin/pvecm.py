"""pvecm: nodes, status - what corosync-quorumtool prints."""
import re
import sys
import time

from . import cli, node
from .cli import Command
from .errors import Die

NO_CLUSTER = "Error: Corosync config '/etc/pve/corosync.conf' does not exist - is this node part of a cluster?"


def corosync():
    """The nodes and totem values of corosync.conf."""
    try:
        with open(node.path("/etc/pve/corosync.conf"), encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        raise Die(NO_CLUSTER) from None
    nodes = []
    for block in re.findall(r"\bnode\s*\{([^{}]*)\}", text):
        values = dict(re.findall(r"(?m)^\s*(\w+)\s*:\s*(\S+)", block))
        nodes.append({"name": values.get("name"), "id": int(values.get("nodeid", 0)),
                      "votes": int(values.get("quorum_votes", 1)), "ip": values.get("ring0_addr", "")})
    name = re.search(r"(?m)^\s*cluster_name\s*:\s*(\S+)", text)
    version = re.search(r"(?m)^\s*config_version\s*:\s*(\d+)", text)
    device = re.search(r"\bdevice\s*\{", text)
    return {"name": name[1] if name else "", "version": version[1] if version else "1", "device": bool(device),
            "nodes": sorted(nodes, key=lambda entry: entry["id"])}


def online(config):
    members, _ = node.members()
    return [entry for entry in config["nodes"] if members.get(entry["name"], {}).get("online")]


def membership(config, flags, name):
    """Online members only; a QDevice adds a column and a line of its own."""
    device = config["device"]
    heading = "    Nodeid      Votes" + ("    Qdevice" if device else "") + " Name\n"
    text = "\nMembership information\n----------------------\n" + heading
    for entry in online(config):
        local = " (local)" if entry["name"] == node.name() else ""
        column = "    A,V,NMW" if device else ""
        text += f"{flags(entry['id']):>10} {entry['votes']:>10}{column} {name(entry)}{local}\n"
    if device:
        text += f"{flags(0):>10} {1:>10}            Qdevice\n"
    return text


def nodes():
    sys.stdout.write(membership(corosync(), str, lambda entry: entry["name"]))


def status():
    config = corosync()
    there = online(config)
    me = next((entry for entry in config["nodes"] if entry["name"] == node.name()), {"id": 0})
    expected = sum(entry["votes"] for entry in config["nodes"]) + config["device"]
    votes = sum(entry["votes"] for entry in there) + config["device"]
    quorum = expected // 2 + 1
    quorate = node.has_quorum()
    blocked = "" if quorate else " Activity blocked"
    flags = ("Quorate" if quorate else "") + (" Qdevice" if config["device"] else "")
    sys.stdout.write(
        "Cluster information\n-------------------\n"
        f"Name:             {config['name']}\nConfig Version:   {config['version']}\n"
        "Transport:        knet\nSecure auth:      on\n\n"
        "Quorum information\n------------------\n"
        f"Date:             {time.strftime('%a %b %e %H:%M:%S %Y')}\nQuorum provider:  corosync_votequorum\n"
        f"Nodes:            {len(there)}\nNode ID:          0x{me['id']:08x}\nRing ID:          1.5\n"
        f"Quorate:          {'Yes' if quorate else 'No'}\n\n"
        "Votequorum information\n----------------------\n"
        f"Expected votes:   {expected}\nHighest expected: {expected}\nTotal votes:      {votes}\n"
        f"Quorum:           {quorum} {blocked}\nFlags:            {flags} \n")
    sys.stdout.write(membership(config, lambda number: f"0x{number:08x}", lambda entry: entry["ip"]))
    return 0 if quorate else 2


COMMANDS = {"nodes": Command(nodes, "nodes"), "status": Command(status, "status")}


def main():
    cli.main("pvecm", COMMANDS, lambda words: "USAGE: pvecm <COMMAND> [ARGS] [OPTIONS]\n")
