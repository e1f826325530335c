"""qm set, unlock: checking values, allocating disks, what waits in [PENDING] while the guest runs."""
import re
import sys
import uuid

from . import cli, drives, grammar, guests, node, qemu, schema, storage
from .errors import BadParameter, Die

# Applied at once even while the guest runs; everything else waits for the next start.
LIVE = {"description", "hookscript", "lock", "migrate_downtime", "migrate_speed", "name", "onboot", "protection", "shares",
        "startup", "tags", "vmstatestorage"}
DNS_NAME = re.compile(r"([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.+-]*")


def _name(text):
    if not DNS_NAME.fullmatch(text):
        raise ValueError("invalid format - value does not look like a valid DNS name\n")
    return text


def _tags(text):
    for tag in re.split(r"[,;\s]+", text):
        if tag and not TAG.fullmatch(tag):
            raise ValueError("invalid format - invalid characters in tag\n")
    return text


def _drive(key):
    def check(text):
        try:
            drives.parse(key, text)
        except ValueError as error:
            raise ValueError(f"invalid format - {error}\n") from None
        return text
    return check


def option(name):
    """The check of a `qm set` option, None if there is no such key."""
    special = {"lock": cli.one_of(*schema.LOCKS), "name": _name, "tags": _tags, "skiplock": cli.boolean, "force": cli.boolean,
               "digest": str, "delete": str, "revert": str, "background_delay": cli.integer, "cdrom": _drive("ide2")}
    if name in special:
        return special[name]
    if name in ("parent", "snaptime", "snapstate", "vmstate", "runningmachine", "runningcpu", "running-nets-host-mtu", "meta"):
        return None
    if schema.drive_interface(name):
        return _drive(name)
    return {schema.BOOLEAN: cli.boolean, schema.INTEGER: cli.integer, schema.NUMBER: str, schema.TEXT: str}.get(
        schema.key_type(name))


def create_option(name):
    extra = {"start": cli.boolean, "storage": str, "pool": str, "unique": cli.boolean, "force": cli.boolean,
             "archive": str, "bwlimit": cli.integer}
    return extra.get(name) or (option(name) if name not in ("skiplock", "digest", "delete", "revert") else None)


def sorted_tags(text):
    """Lower-cased, sorted, unique, joined by `;` - unless datacenter.cfg's tag-style says otherwise."""
    try:
        with open(node.path("/etc/pve/datacenter.cfg"), encoding="utf-8") as file:
            style = re.search(r"(?m)^tag-style:\s*(.*)$", file.read())
    except FileNotFoundError:
        style = None
    style = style[1] if style else ""
    tags = [tag for tag in re.split(r"[,;\s]+", text) if tag]
    if "case-sensitive=1" not in style:
        tags = [tag.lower() for tag in tags]
    tags = list(dict.fromkeys(tags))
    return ";".join(tags if "ordering=config" in style else sorted(tags))


def add_unused(conf, volid):
    if any(conf.get(key) == volid for key in drives.keys(conf, unused=True)):
        return
    conf[next(key for n in range(256) if (key := f"unused{n}") not in conf)] = volid


def owned(volid, vmid):
    try:
        return storage.owner(volid) == vmid
    except Die:
        return False


def place_drive(vmid, key, text):
    """The line for a drive given to set or create: `storage:4` allocates, an existing volume gets its size."""
    drive = drives.parse(key, text)
    if key == "ide2" and drive["file"] in ("none", "cdrom"):
        drive.setdefault("media", "cdrom")
    volid = drives.volume_id(drive)
    if not volid:
        return drives.write(drive) if "media" in drive else text
    target, name = storage.split(volid)
    if name == "cloudinit":
        drive.update(file=storage.allocate(target, vmid, 4 << 20, f"vm-{vmid}-cloudinit"), media="cdrom")
        return drives.write(drive)
    if re.fullmatch(r"\d+(\.\d+)?", name):
        fixed = {"efidisk0": 528 << 10, "tpmstate0": 4 << 20}
        size = fixed.get(key) or int(float(name) * (1 << 30))
        drive["file"] = storage.allocate(target, vmid, size)
        store, name = storage.of(drive["file"])
        drive["size"] = store.size(name)
        line = drives.write(drive)
        print(f"{key}: successfully created disk '{line}'")
        return line
    store, name = storage.of(volid)
    storage.usable(target)
    if not store.exists(name):
        raise Die(f"volume '{volid}' does not exist")
    if not (drives.is_cdrom(drive) and drives.is_cloudinit(drive)):
        drive["size"] = store.size(name)
    return drives.write(drive)


def stored_value(vmid, key, value):
    if schema.drive_interface(key):
        return place_drive(vmid, key, value)
    if key == "tags":
        return sorted_tags(value)
    if key == "vmgenid" and value == "1":
        return str(uuid.uuid4())
    return value


def _delete(vmid, conf, key, force=False):
    if key not in conf:
        return
    value = conf.pop(key)
    if not schema.drive_interface(key):
        return
    drive = drives.parse(key, value)
    volid = drives.volume_id(drive)
    if not volid or drives.is_cdrom(drive) and not drives.is_cloudinit(drive) or not owned(volid, vmid):
        return
    if conf.get("protection"):
        conf[key] = value
        raise Die(f"can't remove {'unused disk' if key.startswith('unused') else 'drive'} '{key}' - protection mode enabled")
    if key.startswith("unused") or force or drives.is_cloudinit(drive):
        store, name = storage.of(volid)
        store.free(name)
    else:
        add_unused(conf, volid)


def _set(vmid, conf, key, value):
    if schema.drive_interface(key) and key in conf:
        old = drives.volume_id(drives.parse(key, conf[key]))
        if old and old != drives.parse(key, value)["file"] and not drives.is_cdrom(drives.parse(key, conf[key])):
            _delete(vmid, conf, key)
    conf[key] = value


def apply_pending(vmid, config):
    for key, force in grammar.pending_deletes(config).items():
        _delete(vmid, config.main, key, force)
    for key, value in config.pending.items():
        if key != "delete":
            _set(vmid, config.main, key, value)
    config.pending.clear()


def _shown(values):
    """`-key value ...`, sorted; Perl prints text of Latin-1 range in Latin-1."""
    return " ".join(f"-{key} {'<hidden>' if key == 'cipassword' else values[key]}" for key in sorted(values))


def _latin1(line):
    try:
        return line.encode("latin-1")
    except UnicodeEncodeError:
        return line.encode("utf-8")


def set_options(vmid, skiplock=0, digest=None, delete=None, revert=None, force=0, background_delay=None, **values):
    shown = dict(values, **({"skiplock": 1} if skiplock else {}), **({"delete": delete} if delete else {}),
                 **({"revert": revert} if revert else {}), **({"force": 1} if force else {}))
    if not values and not delete and not revert:
        raise Die("no options specified")
    if "cdrom" in values:
        values["ide2"] = values.pop("cdrom")
    deletes = [key for key in re.split(r"[,;\s]+", delete or "") if key]
    for key in deletes:
        if key in values:
            raise BadParameter("delete", f"duplicate parameter -{key}")
        if schema.key_type(key) is None:
            raise BadParameter("delete", f"unknown option '{key}'")
    with guests.lock(vmid):
        config = guests.load(vmid)
        if digest and digest != config.digest:
            raise Die("checksum mismatch (file change by other user?)")
        if not skiplock:
            guests.check_lock(config)
        # Like Perl's, our stdout is buffered: an error comes out first.
        sys.stdout.buffer.write(_latin1(f"update VM {vmid}: {_shown(shown)}") + b"\n")
        for key in re.split(r"[,;\s]+", revert or ""):
            config.pending.pop(key, None)
        running = bool(qemu.pid(vmid))
        for key in deletes:
            if running and key not in LIVE and not key.startswith("unused"):
                if key in config.main:
                    marked = dict(grammar.pending_deletes(config), **{key: bool(force)})
                    config.pending["delete"] = ",".join(("!" if marked[k] else "") + k for k in sorted(marked))
                config.pending.pop(key, None)
            else:
                _delete(vmid, config.main, key, force)
                config.pending.pop(key, None)
        for key, value in values.items():
            value = stored_value(vmid, key, value)
            marked = grammar.pending_deletes(config)
            if marked.pop(key, None) is not None:
                config.pending["delete"] = ",".join(("!" if marked[k] else "") + k for k in sorted(marked))
                if not marked:
                    del config.pending["delete"]
            if running and key not in LIVE:
                if config.main.get(key) == value:
                    config.pending.pop(key, None)
                else:
                    config.pending[key] = value
            else:
                config.pending.pop(key, None)
                _set(vmid, config.main, key, value)
        if not running:
            apply_pending(vmid, config)
        guests.save(vmid, config)


def unlock(vmid):
    """Takes away any lock, and is content if there is none; writes the file in either case."""
    guests.load(vmid, warn=False)
    with guests.lock(vmid):
        config = guests.load(vmid)
        config.main.pop("lock", None)
        config.pending.pop("lock", None)
        guests.save(vmid, config)


def with_mac(line, fresh=False):
    """`virtio,bridge=..` gets an address: PVE's prefix BC:24:11 and a random rest."""
    model, comma, rest = line.partition(",")
    if "=" in model and not fresh:
        return line
    random = uuid.uuid4().hex[:6].upper()
    return f"{model.partition('=')[0]}=BC:24:11:{random[:2]}:{random[2:4]}:{random[4:]}{comma}{rest}"
