"""qm snapshot, delsnapshot, rollback.

Running: freeze if the agent answers, pause the machine, an internal snapshot of each disk by QEMU in key order, resume,
thaw. So several disks are of one moment even without an agent. Stopped: `rbd snap create` for each disk."""
import sys
import time
import uuid

from . import agent, drives, guests, power, qemu, storage
from .errors import Die

NOT_COPIED = ("lock", "snapstate", "description", "pending")


def snapshot_disks(conf):
    """The drives a snapshot takes in: volumes that are no CDs."""
    return [(key, volid) for key, drive in drives.each(conf)
            if (volid := drives.volume_id(drive)) and not drives.is_cdrom(drive)]


def _copy(values):
    return {key: value for key, value in values.items() if key not in NOT_COPIED and not key.startswith("unused")}


def take(vmid, snapname, description=None, vmstate=0):
    if len(snapname) > 40:
        raise Die("snapname: value may only be 40 characters long")
    if vmstate:
        raise Die("the lab takes no snapshots with RAM")
    with guests.lock(vmid):
        config = guests.load(vmid)
        if guests.is_template(config):
            raise Die("you can't take a snapshot if it's a template")
        guests.check_lock(config)
        if snapname in config.snapshots or snapname == "current":
            raise Die(f"snapshot name '{snapname}' already used")
        section = _copy(config.main)
        section["snapstate"], section["snaptime"] = "prepare", int(time.time())
        if description:
            section["description"] = description
        config.snapshots[snapname] = section
        config.main["lock"] = "snapshot"
        guests.save(vmid, config)
    done = []
    try:
        _take_disks(vmid, config.main, snapname, done)
    except Die:
        _undo(vmid, snapname, done)
        raise
    with guests.lock(vmid):
        config = guests.load(vmid)
        config.snapshots[snapname].pop("snapstate", None)
        config.main["parent"] = snapname
        config.main.pop("lock", None)
        guests.save(vmid, config)


def _take_disks(vmid, conf, snapname, done):
    running = bool(qemu.pid(vmid))
    frozen = paused = False
    try:
        if running:
            if agent.freezes(conf) and agent.answers(vmid):
                try:
                    if agent.call(vmid, "guest-fsfreeze-status").get("return") == "thawed":
                        frozen = agent.freeze(vmid)
                except OSError as error:
                    sys.stderr.write(f"guest-fsfreeze-freeze problems - {error}\n")
            if qemu.qmp(vmid, "query-status")["status"] == "running":
                qemu.qmp(vmid, "stop")
                paused = True
        for key, volid in snapshot_disks(conf):
            print(f"snapshotting 'drive-{key}' ({volid})", flush=True)
            store, name = storage.of(volid)
            if running and isinstance(store, storage.Rbd) and not key.startswith("tpmstate"):
                qemu.qmp(vmid, "blockdev-snapshot-internal-sync", timeout=60, device=f"drive-{key}", name=snapname)
            elif isinstance(store, storage.Rbd):
                store.snapshot("create", name, snapname)
            else:
                raise Die(f"snapshot feature is not available for volume '{volid}'")
            done.append(volid)
    finally:
        if paused:
            qemu.qmp(vmid, "cont")
        if frozen:
            try:
                agent.call(vmid, "guest-fsfreeze-thaw")
            except OSError as error:
                sys.stderr.write(f"guest-fsfreeze-thaw problems - {error}\n")


def _undo(vmid, snapname, done):
    for volid in done:
        store, name = storage.of(volid)
        try:
            store.snapshot("rm", name, snapname)
        except Die as error:
            sys.stderr.write(f"{error}\n")
    with guests.lock(vmid):
        config = guests.load(vmid)
        config.snapshots.pop(snapname, None)
        config.main.pop("lock", None)
        guests.save(vmid, config)


def delete(vmid, snapname, force=0):
    with guests.lock(vmid):
        config = guests.load(vmid)
        if snapname not in config.snapshots:
            raise Die(f"snapshot '{snapname}' does not exist")
        guests.check_lock(config)
        config.main["lock"] = "snapshot-delete"
        config.snapshots[snapname]["snapstate"] = "delete"
        guests.save(vmid, config)
        section = config.snapshots[snapname]
        for _, volid in snapshot_disks(section):
            store, name = storage.of(volid)
            try:
                if any(entry["name"] == snapname for entry in store.snapshots(name)):
                    store.snapshot("rm", name, snapname)
            except Die as error:
                if not force:
                    raise
                sys.stderr.write(f"{error}\n")
        parent = section.get("parent")
        del config.snapshots[snapname]
        for values in (config.main, *config.snapshots.values()):
            if values.get("parent") == snapname:
                del values["parent"]
                if parent:
                    values["parent"] = parent
        config.main.pop("lock", None)
        guests.save(vmid, config)


def rollback(vmid, snapname, start=0):
    with guests.lock(vmid):
        config = guests.load(vmid)
        if guests.is_template(config):
            raise Die("you can't rollback if VM is a template")
        if snapname not in config.snapshots:
            raise Die(f"snapshot '{snapname}' does not exist")
        guests.check_lock(config)
        section = config.snapshots[snapname]
        if section.get("snapstate"):
            raise Die(f"unable to rollback to incomplete snapshot (snapstate = {section['snapstate']})")
        if qemu.pid(vmid):
            qemu.qmp(vmid, "quit")
            if not qemu.wait_end(vmid, 30):
                qemu.terminate(vmid)
            qemu.tidy(vmid)
        config.main["lock"] = "rollback"
        guests.save(vmid, config)
        for _, volid in snapshot_disks(section):
            store, name = storage.of(volid)
            store.snapshot("rollback", name, snapname)
        unused = {key: value for key, value in config.main.items() if key.startswith("unused")}
        config.main = {**unused, **{key: value for key, value in _copy(section).items() if key not in ("snaptime", "vmstate")}}
        config.main["parent"] = snapname
        if "vmgenid" in config.main:
            config.main["vmgenid"] = str(uuid.uuid4())
        config.pending.clear()
        guests.save(vmid, config)
    if start:
        power.start(vmid)
