"""The command line of the lab."""

import argparse
import os
import sys

from . import lifecycle, network, node, process
from .layout import BY_NAME, CLUSTERS, NODES, State
from .process import LabError

DOWN = 3


def _require_up(state):
    if not lifecycle.is_up(state):
        raise LabError("the lab is down; start it with: lab up")


def _up(state, options):
    print("the lab is up" if lifecycle.up(state, options.store, options.ec) else "the lab is up already")


def _down(state, options):
    lifecycle.down(state)


def _status(state, options):
    if not lifecycle.is_up(state):
        print("the lab is down")
        return DOWN
    link, limit = network.status(state)
    rows = [("CLUSTER", "PART", "ADDRESS", "STATE")]
    for cluster in CLUSTERS:
        parts = [("ceph", cluster.storage, process.alive(state.record(f"storage-{cluster.name}")))]
        parts += [(each.name, each.address, process.alive(state.record(each.name))) for each in cluster.nodes]
        rows += [(cluster.name, name, address, "up" if pid else "down") for name, address, pid in parts]
    rows.append(("-", "link", "-", f"{link}, limited to {limit}" if limit else link))
    for row in rows:
        print("{:<8} {:<6} {:<12} {}".format(*row))
    return 0 if all(row[3] != "down" for row in rows) else 1


def _net(state, options):
    _require_up(state)
    if options.action == "status":
        link, limit = network.status(state)
        print(f"link: {link}\nlimit: {limit or 'none'}")
        return
    with lifecycle.locked(state):
        if options.action == "limit":
            network.limit(state, options.rate)
        else:
            {"unlimit": network.unlimit, "cut": network.cut, "restore": network.restore}[options.action](state)


def _node(state, options):
    _require_up(state)
    each = NODES[options.name]
    with lifecycle.locked(state):
        if options.action in ("kill", "reboot"):
            node.kill(state, each)
        if options.action in ("boot", "reboot"):
            node.boot(state, each)


def _quorum(state, options):
    _require_up(state)
    marker = state.pmxcfs(BY_NAME[options.cluster]) / "no-quorum"
    marker.touch() if options.state == "lost" else marker.unlink(missing_ok=True)


def _cost(state, options):
    _require_up(state)
    node.set_command_cost(state, options.seconds)


def _seconds(text):
    float(text)
    return text


def _parser():
    parser = argparse.ArgumentParser(
        prog="lab", description="Two Proxmox VE look-alike clusters with real Ceph on this machine.",
        epilog="The lab lives in $CROSSOVER_LAB_STATE (default /var/lib/crossover-lab).")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, run, text, of=commands):
        made = of.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        return made

    start = command("up", _up, "build and start the lab")
    start.add_argument("--memstore", dest="store", action="store_const", const="memstore", default="bluestore",
                       help="keep Ceph's data in memory")
    start.add_argument("--ec", action="store_true", help="give west three OSDs and an erasure-coded pool")
    command("down", _down, "stop the lab and remove everything of it")
    command("status", _status, f"show what is up; exit status 0 all, 1 a part is down, {DOWN} the lab is down")
    # Only for the usage text: `exec` never comes this far.
    run = command("exec", None, "run a command in a node")
    run.add_argument("node", choices=NODES)
    run.add_argument("command", nargs="+")

    net = command("net", None, "the link between the clusters").add_subparsers(
        required=True, dest="action", metavar="ACTION")
    command("limit", _net, "limit the rate of each direction", net).add_argument("rate", help="such as 100mbit")
    command("unlimit", _net, "remove the limit", net)
    command("cut", _net, "drop every packet", net)
    command("restore", _net, "let packets pass again", net)
    command("status", _net, "show the link", net)

    nodes = command("node", None, "power of a node").add_subparsers(required=True, dest="action", metavar="ACTION")
    for action, text in (("kill", "power failure: everything in the node ends at once"),
                         ("boot", "start a dead node"), ("reboot", "kill, then boot")):
        command(action, _node, text, nodes).add_argument("name", choices=NODES)

    quorum = command("quorum", _quorum, "take a cluster's quorum or give it back")
    quorum.add_argument("cluster", choices=BY_NAME)
    quorum.add_argument("state", choices=("lost", "restored"))
    command("cost", _cost, "seconds every Proxmox command takes before it works").add_argument(
        "seconds", type=_seconds)
    return parser


def main():
    options = _parser().parse_args()
    if os.geteuid():
        print("lab: namespaces and mounts need root", file=sys.stderr)
        return 1
    try:
        return options.run(State(), options) or 0
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
