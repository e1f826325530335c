"""qm rescan, resize, importdisk: what a configuration says of its disks, and what is on the storages."""
import os
import re
import subprocess

from . import drives, edit, guests, qemu, storage
from .errors import Die


def volumes(config, unused=True):
    """Every volume the configuration names: drives, unused entries, saved states, in the snapshots too."""
    found = {}
    for section in (config.main, *config.snapshots.values()):
        for key, drive in drives.each(section, unused):
            if volid := drives.volume_id(drive):
                found.setdefault(volid, key)
        if volid := section.get("vmstate"):
            found.setdefault(volid, "vmstate")
    return found


def images(vmid=None):
    """{volid: size} on every usable storage with content images."""
    found = {}
    for name, section in storage.read_config().items():
        kinds = re.split(r"[\s,;]+", section.get("content", "images"))
        if section["type"] in ("rbd", "dir") and storage.enabled(section) and "images" in kinds:
            for volid, size, _, _ in storage.backend(name, section).list(vmid):
                found[volid] = size
    return found


def rescan(vmid=None, dryrun=0):
    """Sizes corrected, unreferenced images added as unusedN - and an unreferenced cloud-init image deleted, dry run or not."""
    if dryrun:
        print("NOTE: running in dry-run mode, won't write changes out!")
    if vmid is not None:
        guests.load(vmid, warn=False)
    print("rescan volumes...")
    found = images(vmid)
    for number in [vmid] if vmid is not None else guests.local_ids():
        with guests.lock(number):
            config = guests.load(number)
            guests.check_lock(config)
            mine = {volid: size for volid, size in found.items() if edit.owned(volid, number)}
            if _rescan_one(number, config, found, mine) and not dryrun:
                guests.save(number, config)


def _image_path(volid):
    store, name = storage.of(volid)
    return store.path(name)


def _rescan_one(vmid, config, found, mine):
    changed = False
    conf = config.main
    used_paths = set()
    for key, drive in list(drives.each(conf)):
        volid = drives.volume_id(drive)
        if not volid:
            continue
        used_paths.add(_image_path(volid))
        size = found.get(volid)
        if size is not None and not drives.is_cdrom(drive) and size != drive.get("size"):
            old = drives.format_size(drive["size"]) if "size" in drive else "0"
            print(f"VM {vmid} ({key}): size of disk '{volid}' updated from {old} to {drives.format_size(size)}")
            conf[key] = drives.write(dict(drive, size=size))
            changed = True
    used = {drive["file"] for _, drive in drives.each(conf)}
    for key in [key for key in drives.keys(conf, unused=True) if key.startswith("unused")]:
        if conf[key] in used:
            print(f"VM {vmid} remove entry '{key}', its volume '{conf[key]}' is in use")
            del conf[key]
            changed = True
    named = volumes(config)
    used_paths |= {_image_path(volid) for volid in named if not volid.startswith(("none", "/"))}
    for volid in sorted(mine):
        if volid in named or _image_path(volid) in used_paths:
            continue
        if re.search(r":vm-\d+-cloudinit$", volid):
            print(f"found unused cloudinit disk '{volid}', removing it")
            store, name = storage.of(volid)
            store.free(name)
            continue
        before = set(conf)
        edit.add_unused(conf, volid)
        added = (set(conf) - before).pop()
        print(f"VM {vmid} add unreferenced volume '{volid}' as '{added}' to config")
        changed = True
    return changed


def copy_into(source, volid):
    store, name = storage.of(volid)
    done = subprocess.run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, store.path(name, real=True)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        store.free(name)
        raise Die(f"copy failed: {done.stderr.strip()}")


def importdisk(vmid, source, target, format=None, **more):
    print(f"importing disk '{source}' to VM {vmid} ...", flush=True)
    if not os.path.isfile(source):
        raise Die(f"{source}: non-existent or non-regular file", 2)
    with guests.lock(vmid):
        config = guests.load(vmid)
        guests.check_lock(config)
        volid = storage.allocate(target, vmid, os.path.getsize(source))
        copy_into(source, volid)
        key = more.get("target-disk")
        if key:
            config.main[key] = f"{volid},size={storage.size_text(volid)}"
        else:
            before = set(config.main)
            edit.add_unused(config.main, volid)
            key = (set(config.main) - before).pop()
        guests.save(vmid, config)
    print(f"{key}: successfully imported disk '{volid}'")


def resize(vmid, disk, size):
    """To `size`, or by it with a plus sign; a running QEMU is told."""
    with guests.lock(vmid):
        config = guests.load(vmid)
        guests.check_lock(config)
        if disk not in drives.keys(config.main):
            raise Die(f"disk '{disk}' does not exist")
        drive = drives.parse(disk, config.main[disk])
        store, name = storage.of(drive["file"])
        now = store.size(name)
        wanted = (now if size[0] == "+" else 0) + drives.parse_size(size.lstrip("+"))
        if wanted < now:
            raise Die("shrinking disks is not supported")
        if qemu.pid(vmid):
            qemu.qmp(vmid, "block_resize", device=f"drive-{disk}", size=wanted)
        elif isinstance(store, storage.Rbd):
            store.rbd("resize", "--no-progress", "--size", f"{wanted >> 20}", storage.Volume(name).image)
        else:
            raise Die("resize is only for rbd here")
        config.main[disk] = drives.write(dict(drive, size=store.size(name)))
        guests.save(vmid, config)
