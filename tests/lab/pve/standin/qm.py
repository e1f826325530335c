"""The table of qm's commands."""
import os
import sys

from . import agent, cli, disks, edit, guests, info, lifecycle, power, qemu, snapshot
from .cli import Command, boolean, config_id, integer, vmid
from .errors import Die


def guest_command(vmid, command):
    conf = guests.load(vmid).main
    agent.require(conf, vmid, bool(qemu.pid(vmid)))
    sys.stdout.write(agent.command(vmid, command))


def wait(vmid, timeout=None):
    if not qemu.wait_end(vmid, 1 << 30 if timeout is None else timeout):
        raise Die("wait failed: got timeout")


def cleanup(vmid, **_):
    """What qmeventd has done once a QEMU has ended, unless the command that ended it has done it itself: it waits a
    minute for the guest's lock, and half a minute, with the lock, for QEMU to be gone."""
    guests.load(vmid, warn=False)
    with guests.lock(vmid, 60):
        if not qemu.cleanup_is_due(vmid):
            return
        if not qemu.wait_end(vmid, 30):
            raise Die("vm still running")
        qemu.tidy(vmid)


def clone(**values):
    lifecycle.clone(storage_id=values.pop("storage", None), **values)


VM = ("vmid", vmid)
SKIP = {"skiplock": boolean}
GUEST = ([VM, ("command", cli.one_of(*agent.COMMANDS))], {})
RESCAN = Command(disks.rescan, "disk rescan  [OPTIONS]", [], {"vmid": vmid, "dryrun": boolean})
IMPORT = Command(disks.importdisk, "disk import <vmid> <source> <storage> [OPTIONS]",
                 [VM, ("source", str), ("target", str)], {"format": str, "target-disk": str})
RESIZE = Command(disks.resize, "disk resize <vmid> <disk> <size> [OPTIONS]",
                 [VM, ("disk", str), ("size", cli.disk_size)], {})
SNAP = [VM, ("snapname", config_id)]

COMMANDS = {
    "list": Command(info.list_guests, "list  [OPTIONS]", [], {"full": boolean, "vmid": vmid}),
    "status": Command(info.status, "status <vmid> [OPTIONS]", [VM], {"verbose": boolean}),
    "config": Command(info.config, "config <vmid> [OPTIONS]", [VM], {"current": boolean, "snapshot": config_id}),
    "pending": Command(info.pending, "pending <vmid>", [VM]),
    "listsnapshot": Command(info.listsnapshot, "listsnapshot <vmid>", [VM]),
    "showcmd": Command(info.showcmd, "showcmd <vmid> [OPTIONS]", [VM], {"pretty": boolean, "snapshot": config_id}),
    "set": Command(edit.set_options, "set <vmid> [OPTIONS]", [VM], edit.option),
    "unlock": Command(edit.unlock, "unlock <vmid>", [VM]),
    "create": Command(lifecycle.create, "create <vmid> [OPTIONS]", [VM], edit.create_option),
    "destroy": Command(lifecycle.destroy, "destroy <vmid> [OPTIONS]", [VM],
                       {**SKIP, "purge": boolean, "destroy-unreferenced-disks": boolean}),
    "template": Command(lifecycle.template, "template <vmid> [OPTIONS]", [VM], {"disk": str}),
    "clone": Command(clone, "clone <vmid> <newid> [OPTIONS]", [VM, ("newid", vmid)],
                     {"name": str, "full": boolean, "storage": str, "description": str, "target": str, "format": str}),
    "migrate": Command(lifecycle.migrate, "migrate <vmid> <target> [OPTIONS]", [VM, ("target", str)], {"online": boolean}),
    "resize": RESIZE, "disk resize": RESIZE,
    "rescan": RESCAN, "disk rescan": RESCAN, "importdisk": IMPORT, "disk import": IMPORT,
    "start": Command(power.start, "start <vmid> [OPTIONS]", [VM], {**SKIP, "timeout": integer, "machine": str}),
    "stop": Command(power.stop, "stop <vmid> [OPTIONS]", [VM],
                    {**SKIP, "timeout": integer, "keepActive": boolean, "overrule-shutdown": boolean}),
    "shutdown": Command(power.shutdown, "shutdown <vmid> [OPTIONS]", [VM],
                        {**SKIP, "timeout": integer, "forceStop": boolean, "keepActive": boolean}),
    "reboot": Command(power.reboot, "reboot <vmid> [OPTIONS]", [VM], {"timeout": integer}),
    "reset": Command(power.reset, "reset <vmid> [OPTIONS]", [VM], SKIP),
    "suspend": Command(power.suspend, "suspend <vmid> [OPTIONS]", [VM],
                       {**SKIP, "todisk": boolean, "statestorage": str}),
    "resume": Command(power.resume, "resume <vmid> [OPTIONS]", [VM], {**SKIP, "nocheck": boolean}),
    "snapshot": Command(snapshot.take, "snapshot <vmid> <snapname> [OPTIONS]", SNAP,
                        {"description": str, "vmstate": boolean}),
    "delsnapshot": Command(snapshot.delete, "delsnapshot <vmid> <snapname> [OPTIONS]", SNAP, {"force": boolean}),
    "rollback": Command(snapshot.rollback, "rollback <vmid> <snapname> [OPTIONS]", SNAP, {"start": boolean}),
    "guest cmd": Command(guest_command, "guest cmd <vmid> <command>", *GUEST),
    "agent": Command(guest_command, "guest cmd <vmid> <command>", *GUEST),
    "wait": Command(wait, "wait <vmid> [OPTIONS]", [VM], {"timeout": integer}),
    "cleanup": Command(cleanup, "cleanup <vmid> <clean-shutdown> <guest-requested>",
                       [VM, ("clean", str), ("requested", str)]),
}


def unknown(words):
    with open(os.path.join(os.path.dirname(__file__), "qm-usage.txt"), encoding="utf-8") as file:
        usage = file.read()
    return (f"ERROR: unknown command 'qm {' '.join(words[:1])}'\n" if words else "ERROR: no command specified\n") + usage


def main():
    cli.main("qm", COMMANDS, unknown)
