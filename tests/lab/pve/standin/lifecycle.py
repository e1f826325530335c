"""qm create, destroy, template, clone, migrate: commands about a VM as a whole."""
import os
import re
import sys
import time
import uuid

from . import disks, drives, edit, grammar, guests, ha, node, power, qemu, schema, storage
from .errors import Die

NOT_CLONED = ("lock", "parent", "template", "vmstate", "protection", "description")


def unused_vmid(vmid):
    """One number per cluster, over both kinds of guests."""
    found = guests.all_ids().get(vmid)
    if found:
        raise Die(f"unable to create VM {vmid} - VM {vmid} already exists on node '{found[0]}'")


def boot_default(conf):
    keys = drives.keys(conf)
    images = [key for key in keys if not key.startswith(("efidisk", "tpmstate"))
              and not drives.is_cdrom(drives.parse(key, conf[key]))]
    trays = [key for key in keys if drives.is_cdrom(drives.parse(key, conf[key]))]
    nics = sorted(key for key in conf if re.fullmatch(r"net\d+", key))
    return "order=" + ";".join(images[:1] + trays[:1] + nics[:1])


def create(vmid, start=0, archive=None, **values):
    if not node.has_quorum():
        raise Die("cluster not ready - no quorum?")
    if archive:
        raise Die("the lab restores no archives")
    unused_vmid(vmid)
    if "cdrom" in values:
        values["ide2"] = values.pop("cdrom")
    # Options such as --unique or --bwlimit are about restoring.
    values = {key: value for key, value in values.items() if schema.key_type(key)}
    with guests.lock(vmid):
        config = grammar.Config()
        for key in drives.keys(values, unused=True) + [key for key in values if not schema.drive_interface(key)]:
            config.main[key] = edit.stored_value(vmid, key, values[key])
        config.main.setdefault("smbios1", f"uuid={uuid.uuid4()}")
        config.main.setdefault("vmgenid", str(uuid.uuid4()))
        if config.main["vmgenid"] == "0":
            del config.main["vmgenid"]
        config.main["meta"] = f"creation-qemu=9.2.0,ctime={int(time.time())}"
        config.main.setdefault("boot", boot_default(config.main))
        for key in config.main:
            if re.fullmatch(r"net\d+", key):
                config.main[key] = edit.with_mac(str(config.main[key]))
        guests.save(vmid, config)
    if start:
        power.start(vmid)


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
            for volid in disks.volumes(config):
                if linked_clones(volid):
                    raise Die(f"base volume '{volid}' is still in use by linked cloned")
        marked = dict(config.main)
        config.main = {**marked, "lock": "destroyed"}
        guests.save(vmid, config)
        for volid in disks.volumes(config):
            try:
                if storage.owner(volid) != vmid:
                    continue
            except Die as error:
                sys.stderr.write(f"WARN: failed to get path and owner of volume '{volid}': {error}\n")
                warnings += 1
                continue
            warnings += not _free(volid)
        if more.get("destroy-unreferenced-disks"):
            for volid in disks.images(vmid):
                warnings += not _free(volid)
        if purge and ha.configured(vmid):
            with ha.lock():
                found = ha.resources()
                del found[ha.sid(vmid)]
                ha.write_resources(found)
        firewall = node.path(f"/etc/pve/firewall/{vmid}.fw")
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
    unused_vmid(newid)
    with guests.lock(vmid):
        config = guests.load(vmid)
        guests.check_lock(config)
        linked = guests.is_template(config) and not full
        if full == 0 and not guests.is_template(config):
            raise Die("linked clone feature is not supported for drives that are no templates")
        new = {key: value for key, value in config.main.items() if key not in NOT_CLONED and not key.startswith("unused")}
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
                disks.copy_into(store.path(image, real=True), drive["file"])
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
        result = grammar.Config()
        result.main = new
        guests.save(newid, result)


def migrate(vmid, target, **_):
    """Offline, to another node of the cluster: everything is on shared storage, so the configuration is renamed."""
    with guests.lock(vmid):
        config = guests.load(vmid)
        guests.check_lock(config)
        if target not in node.members()[0]:
            raise Die(f"no such cluster node '{target}'")
        if qemu.pid(vmid):
            raise Die("can't migrate running VM without --online, and the lab has no online migration")
        os.rename(node.path(f"/etc/pve/{guests.config_path(vmid)}"), node.path(f"/etc/pve/{guests.config_path(vmid, target)}"))
