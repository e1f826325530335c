"""pvesm: path, list, status, alloc, free."""
import re
import sys

from . import cli, drives, guests, storage
from .cli import Command, boolean, vmid
from .errors import Die


def volume(text):
    if not re.fullmatch(r"(?i)[a-z][a-z0-9._-]*[a-z0-9]:.+", text):
        raise ValueError(f"invalid format - unable to parse volume ID '{text}'\n")
    return text


def path(volume):
    """Says where a volume would be: neither the image nor the storage's being enabled matters."""
    store, name = storage.of(volume)
    print(store.path(name))


def entries(storage_id, vmid=None, content=None):
    """[(volid, content, size, vmid, parent)]; content is rootdir if that VMID is a container."""
    section = storage.usable(storage_id)
    store = storage.backend(storage_id, section)
    if isinstance(store, storage.Rbd):
        store.activate()
    containers = {number for number, (_, kind) in guests.all_ids().items() if kind == "lxc"}
    rows = []
    for volid, size, owner, parent in store.list(vmid):
        kind = "rootdir" if owner in containers else "images"
        if content in (None, kind):
            rows.append((volid, kind, size, owner, parent))
    return rows


def list_volumes(storage_id, vmid=None, content=None):
    rows = entries(storage_id, vmid, content)
    name_width = max([len(row[0]) for row in rows], default=0)
    size_width = max([len(str(row[2])) for row in rows], default=0)
    print(f"{'Volid':<{name_width}} {'Format':<7} {'Type':<9} {'Size':>{size_width}} VMID")
    for volid, kind, size, owner, _ in rows:
        file_format = volid.rpartition(".")[2] if volid.endswith((".qcow2", ".vmdk")) else "raw"
        print(f"{volid:<{name_width}} {file_format:<7} {kind:<9} {size:>{size_width}} {owner}")


def states(storage_id=None):
    """[(id, type, status, total, used, available)] in bytes, sorted by id."""
    found = []
    for name, section in sorted(storage.read_config().items()):
        if storage_id not in (None, name):
            continue
        state, numbers = "disabled", (0, 0, 0)
        if storage.enabled(section):
            try:
                numbers, state = storage.backend(name, section).usage(), "active"
            except (Die, OSError) as error:
                sys.stderr.write(f"{error}\n")
                state = "inactive"
        found.append((name, section["type"], state, *numbers))
    return found


def status(storage_id=None, enabled=0, content=None):
    rows = states(storage_id)
    width = max([len(row[0]) for row in rows], default=0) + 1
    header = ("Name", "Type", "Status", "Total (KiB)", "Used (KiB)", "Available (KiB)", "%")
    print("%-*s %10s %10s %15s %15s %15s %8s" % (width, *header))
    for name, kind, state, total, used, available in rows:
        if enabled and state == "disabled":
            continue
        share = "N/A" if state == "disabled" else "%.2f%%" % (used * 100 / total if total else 0)
        print("%-*s %10s %10s %15d %15d %15d %8s" % (width, name, kind, state, total >> 10, used >> 10, available >> 10, share))


def size_kib(text):
    if not re.fullmatch(r"\d+[MG]?", text):
        raise ValueError("value does not match the regex pattern")
    return drives.parse_size(text if text[-1] in "MG" else text + "K")


def alloc(storage_id, vmid, filename, size, format=None):
    section = storage.usable(storage_id)
    if filename and section["type"] == "rbd" and not filename.startswith(f"vm-{vmid}-"):
        raise Die(f"illegal name '{filename}' - should be 'vm-{vmid}-*'")
    print(f"successfully created '{storage.allocate(storage_id, vmid, size, filename or None)}'")


def free(volume, **_):
    """Ends with 0 even if removing failed; looks at no lock and no configuration."""
    store, name = storage.of(volume)
    if isinstance(store, storage.Rbd):
        storage.Volume(name)
    try:
        store.free(name)
        print(f"Removed volume '{volume}'")
    except Die as error:
        sys.stderr.write(f"{error}\n")


STORAGE = ("storage_id", str)
COMMANDS = {
    "path": Command(path, "path <volume>", [("volume", volume)]),
    "list": Command(list_volumes, "list <storage> [OPTIONS]", [STORAGE], {"vmid": vmid, "content": str}),
    "status": Command(lambda storage=None, **options: status(storage, **options), "status  [OPTIONS]", [],
                      {"storage": str, "enabled": boolean, "content": str}),
    "alloc": Command(alloc, "alloc <storage> <vmid> <filename> <size> [OPTIONS]",
                     [STORAGE, ("vmid", vmid), ("filename", str), ("size", size_kib)], {"format": str}),
    "free": Command(free, "free <volume> [OPTIONS]", [("volume", volume)], {"storage": str, "delay": cli.integer}),
}


def unknown(words):
    return f"ERROR: unknown command 'pvesm {' '.join(words[:1])}'\nUSAGE: pvesm <COMMAND> [ARGS] [OPTIONS]\n"


def main():
    cli.main("pvesm", COMMANDS, unknown)
