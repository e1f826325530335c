"""`pve-guests startall|stopall`: what a node does with its guests when it boots and when it goes down."""
import re
import sys

from . import guests, ha, node, power, qemu
from .cli import Command, main as run_cli
from .errors import Die


def order(conf):
    match = re.search(r"(?:^|,)(?:order=)?(\d+)(?:,|$)", str(conf.get("startup", "")))
    return int(match[1]) if match else 1 << 30


def startall(**_):
    """First every leftover `lock: backup` is removed - other locks stay -, then the onboot guests that are not HA's start."""
    if not node.has_quorum():
        raise Die("cluster not ready - no quorum?")
    chosen = []
    for vmid in guests.local_ids():
        with guests.lock(vmid):
            config = guests.load(vmid)
            if config.main.get("lock") == "backup":
                sys.stderr.write(f"Removing stale backup lock on VM {vmid}\n")
                del config.main["lock"]
                guests.save(vmid, config)
        if config.main.get("onboot") and not config.main.get("template") and not ha.managed(vmid):
            chosen.append((order(config.main), vmid))
    for _, vmid in sorted(chosen):
        if qemu.pid(vmid):
            continue
        print(f"Starting VM {vmid}", flush=True)
        try:
            power.start_here(vmid)
        except Die as error:
            sys.stderr.write(f"Starting VM {vmid} failed: {error}\n")


def stopall(timeout=180, **_):
    for vmid in guests.local_ids():
        if not qemu.pid(vmid):
            continue
        print(f"Stopping VM {vmid} (timeout = {timeout} seconds)", flush=True)
        try:
            power.stop_here(vmid, skiplock=1, timeout=timeout, shutdown=True, force=True)
        except Die as error:
            sys.stderr.write(f"Stopping VM {vmid} failed: {error}\n")


COMMANDS = {"startall": Command(startall, "startall"), "stopall": Command(stopall, "stopall [OPTIONS]", [], {"timeout": int})}


def main():
    run_cli("pve-guests", COMMANDS, lambda words: "usage: pve-guests startall|stopall\n")
