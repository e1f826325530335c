"""Drive lines: `volume,option=value,...`."""
import re

from . import schema
from .cli import boolean

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text):
    match = re.fullmatch(r"(?i)(\d+(?:\.\d+)?)([KMGT]?)(?:i?b)?", text)
    if not match:
        raise ValueError(f"format error\nsize: invalid format - value does not look like a valid disk size: {text}")
    return int(float(match[1]) * UNITS[match[2].upper()])


def format_size(size):
    """The largest unit that is exact: 10240M is written 10G."""
    unit = ""
    for bigger in "KMGT":
        if not size or size % 1024:
            break
        size, unit = size // 1024, bigger
    return f"{size}{unit}"


def parse(key, value):
    """The options of a drive line as a dict; `file` is the volume. ValueError with PVE's words."""
    allowed = schema.DRIVE_OPTIONS[schema.drive_interface(key)]
    drive = {}
    for part in value.split(","):
        if not part:
            continue
        name, equals, text = part.partition("=")
        if not equals:
            name, text = "file", part
        elif name == "volume":
            name = "file"
        if name not in allowed:
            raise ValueError(f"format error\n{name}: property is not defined in schema and the schema does not allow "
                             "additional properties")
        if name in drive:
            raise ValueError(f"duplicate key in comma-separated list property: {name}")
        if name in schema.DRIVE_BOOLEANS:
            text = boolean(text)
        elif name == "size":
            text = parse_size(text)
        drive[name] = text
    if "file" not in drive:
        raise ValueError("format error\nfile: property is missing and it is not optional")
    return drive


def write(drive):
    """A drive line as PVE writes it when it changed that drive: the volume, then the options sorted."""
    parts = [drive["file"]]
    for name in sorted(drive):
        if name != "file":
            parts.append(f"{name}={format_size(drive[name]) if name == 'size' else drive[name]}")
    return ",".join(parts)


def is_cdrom(drive):
    return drive.get("media") == "cdrom"


def is_cloudinit(drive):
    """Cloud-init is known by the volume's name, on any bus."""
    return is_cdrom(drive) and bool(re.search(r"[:/]vm-\d+-cloudinit(\.[^:/]+)?$", drive["file"]))


def volume_id(drive):
    """`storage:name` if the drive is a volume of a storage, else None."""
    file = drive["file"]
    return file if re.fullmatch(r"(?i)[a-z][a-z0-9._-]*[a-z0-9]:.+", file) else None


_ORDER = ("ide", "scsi", "virtio", "sata", "efidisk", "tpmstate", "unused")


def keys(conf, unused=False):
    """The drive keys of a configuration in PVE's order: by bus, then number."""
    found = [key for key in conf if schema.drive_interface(key) and (unused or not key.startswith("unused"))]
    return sorted(found, key=lambda key: (_ORDER.index(schema.drive_interface(key)), int(re.sub(r"\D", "", key))))


def each(conf, unused=False):
    for key in keys(conf, unused):
        yield key, parse(key, conf[key])
