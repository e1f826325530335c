"""qm destroy, template, clone, rescan, importdisk: commands about a VM's volumes as a whole."""
import os
import re
import subprocess
import sys
import time
import uuid

from . import drives, edit, guests, ha, qemu, storage
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


def destroy(vmid, purge=0, skiplock=0, **more):
    config = guests.load(vmid, warn=False)
    if config.main.get("protection"):
        raise Die(f"can't remove VM {vmid} - protection mode enabled")
    if ha.configured(vmid) and not purge:
        raise Die(f"unable to remove VM {vmid} - used in HA resources and purge parameter not set.")
    if qemu.pid(vmid):
        raise Die(f"VM {vmid} is running - destroy failed", 25)
    warnings = 0
    with guests.lock(vmid):
        config = guests.load(vmid)
        if not skiplock:
            guests.check_lock(config, "suspended")
        if guests.is_template(config):
            for volid in volumes(config):
                if linked_clones(volid):
                    raise Die(f"base volume '{volid}' is still in use by linked cloned")
        marked = dict(config.main)
        config.main = {**marked, "lock": "destroyed"}
        guests.save(vmid, config)
        for volid in volumes(config):
            try:
                if storage.owner(volid) != vmid:
                    continue
            except Die as error:
                sys.stderr.write(f"WARN: failed to get path and owner of volume '{volid}': {error}\n")
                warnings += 1
                continue
            warnings += not _free(volid)
        if more.get("destroy-unreferenced-disks"):
            for volid in images(vmid):
                warnings += not _free(volid)
        if purge and ha.configured(vmid):
            with ha.lock():
                found = ha.resources()
                del found[ha.sid(vmid)]
                ha.write_resources(found)
        firewall = guests.node.path(f"/etc/pve/firewall/{vmid}.fw")
        if os.path.exists(firewall):
            os.unlink(firewall)
        guests.remove(vmid)
    if warnings:
        sys.stderr.write(f"Task finished with {warnings} warning(s)!\n")


def _free(volid):
    """True if it is gone; a failure is a warning, the command still ends with 0."""
    try:
        store, name = storage.of(volid)
        store.free(name)
        return True
    except Die as error:
        sys.stderr.write(f"WARN: Could not remove disk '{volid}', check manually: {error}\n")
        return False


def linked_clones(volid):
    store, name = storage.of(volid)
    if not isinstance(store, storage.Rbd) or not storage.Volume(name).is_base:
        return False
    try:
        return bool(store.rbd("children", "--snap", "__base__", storage.Volume(name).image).strip())
    except Die:
        return False


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


def template(vmid, disk=None):
    with guests.lock(vmid):
        config = guests.load(vmid)
        guests.check_lock(config)
        if config.snapshots:
            raise Die("unable to create template, because VM contains snapshots")
        if guests.is_template(config):
            raise Die("you can't convert a template to a template")
        if qemu.pid(vmid):
            raise Die("you can't convert a VM to template if VM is running")
        config.main["template"] = 1
        guests.save(vmid, config)
        for key, drive in drives.each(config.main):
            volid = drives.volume_id(drive)
            if not volid or drives.is_cdrom(drive):
                continue
            store, name = storage.of(volid)
            drive["file"] = f"{store.storage}:{store.make_base(name)}"
            config.main[key] = drives.write(drive)
            guests.save(vmid, config)


def clone(vmid, newid, name=None, full=None, storage_id=None, description=None, **_):
    edit.unused_vmid(newid)
    with guests.lock(vmid):
        config = guests.load(vmid)
        guests.check_lock(config)
        linked = guests.is_template(config) and not full
        if full == 0 and not guests.is_template(config):
            raise Die("linked clone feature is not supported for drives that are no templates")
        new = {key: value for key, value in config.main.items()
               if key not in ("lock", "parent", "template", "vmstate", "protection", "description") and not key.startswith("unused")}
        for key, drive in drives.each(new):
            volid = drives.volume_id(drive)
            if not volid or drives.is_cdrom(drive) and not drives.is_cloudinit(drive):
                continue
            store, image = storage.of(volid)
            if drives.is_cloudinit(drive):
                drive["file"] = storage.allocate(store.storage, newid, 4 << 20, f"vm-{newid}-cloudinit")
            elif linked:
                print(f"create linked clone of drive {key} ({volid})")
                drive["file"] = f"{store.storage}:{store.clone(image, newid)}"
            else:
                print(f"create full clone of drive {key} ({volid})")
                size = store.size(image)
                drive["file"] = storage.allocate(storage_id or store.storage, newid, size)
                _copy(store.path(image, real=True), drive["file"])
            new[key] = drives.write(drive)
        for key in new:
            if re.fullmatch(r"net\d+", key):
                new[key] = edit.with_mac(str(new[key]), fresh=True)
        new["name"] = name or f"Copy-of-VM-{config.main.get('name', vmid)}"
        new["smbios1"] = re.sub(r"uuid=[0-9a-fA-F-]*", f"uuid={uuid.uuid4()}", new.get("smbios1", "uuid="))
        if "vmgenid" in new:
            new["vmgenid"] = str(uuid.uuid4())
        new["meta"] = f"creation-qemu=9.2.0,ctime={int(time.time())}"
        if description:
            new["description"] = description
        result = type(config)()
        result.main = new
        guests.save(newid, result)


def _copy(source, volid):
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
        _copy(source, volid)
        key = more.get("target-disk")
        if key:
            config.main[key] = f"{volid},size={storage.size_text(volid)}"
        else:
            before = set(config.main)
            edit.add_unused(config.main, volid)
            key = (set(config.main) - before).pop()
        guests.save(vmid, config)
    print(f"{key}: successfully imported disk '{volid}'")
