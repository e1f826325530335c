"""The grammar of VM configuration files: read what PVE reads, write what PVE writes.

A line PVE cannot parse is warned about and dropped, so the next command that writes the file deletes it. Blank lines
separate nothing; an unknown section hides its lines; CRLF and a missing final line feed are tolerated."""
import hashlib
import re
import urllib.parse

from . import drives, schema
from .cli import boolean


class Config:
    """main, pending and the named sections as {key: value}; description is decoded text."""

    def __init__(self):
        self.main, self.pending, self.special, self.snapshots = {}, {}, {}, {}
        self.digest, self.warnings = hashlib.sha1(b"").hexdigest(), []


def encode_text(text):
    """PVE::Tools::encode_text: everything but 0x20-0x7e, and `%` and `:`, as UTF-8 in percent form."""
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E and chr(byte) not in "%:" else f"%{byte:02X}"
                   for byte in text.encode("utf-8"))


def decode_text(text):
    return urllib.parse.unquote(text)


def check(key, value):
    """The value as PVE holds it; only booleans, numbers and drive formats are checked when a file is read."""
    kind = schema.key_type(key)
    if kind is None:
        raise ValueError(f"unknown setting '{key}'")
    text = str(value)
    if kind == schema.BOOLEAN:
        try:
            return boolean(text)
        except ValueError:
            raise ValueError(f"type check ('boolean') failed - got '{text}'") from None
    if kind == schema.INTEGER:
        if not re.fullmatch(r"[+-]?\d+", text):
            raise ValueError(f"type check ('integer') failed - got '{text}'")
        return int(text)
    if kind == schema.NUMBER and not re.fullmatch(r"[+-]?\d+(\.\d*)?|\.\d+", text):
        raise ValueError(f"type check ('number') failed - got '{text}'")
    if schema.drive_interface(key):
        drives.parse(key, text)
    return value


def parse(raw, vmid):
    config = Config()
    config.digest = hashlib.sha1(raw).hexdigest()
    descriptions = {}
    section, name = config.main, "main"
    for line in raw.decode("utf-8", "replace").split("\n"):
        line = line.rstrip("\r")
        if not line.strip():
            continue
        if match := re.fullmatch(r"(?i)\[pending\]\s*", line):
            section, name = config.pending, "pending"
        elif match := re.fullmatch(r"(?i)\[special:(cloudinit|fleecing)\]\s*", line):
            section, name = config.special.setdefault(match[1].lower(), {}), f"special:{match[1].lower()}"
        elif match := re.fullmatch(r"(?i)\[([a-z][a-z0-9_-]+)\]\s*", line):
            section, name = config.snapshots.setdefault(match[1], {}), f"snapshot:{match[1]}"
        elif match := re.fullmatch(r"\[([^\]]*)\]\s*", line):
            config.warnings.append(f"vm {vmid} - ignore config section: {line}")
            section = None
        elif section is None:
            continue
        elif line.startswith("#"):
            descriptions.setdefault(name, (section, []))[1].append(decode_text(line[1:]))
        elif match := re.fullmatch(r"description:\s*(.*\S)\s*", line):
            descriptions.setdefault(name, (section, []))[1].append(decode_text(match[1]))
        elif match := re.fullmatch(r"(args):\s*(.*\S)\s*", line):
            section["args"] = match[2]
        elif (match := re.fullmatch(r"delete:\s*(.*\S)\s*", line)) and name == "pending":
            section["delete"] = match[1]
        elif match := re.fullmatch(r"([a-z][a-z_-]*\d*):\s*(.+?)\s*", line):
            key = "ide2" if match[1] == "cdrom" else match[1]
            try:
                section[key] = check(key, match[2])
            except ValueError as error:
                config.warnings.append(f"vm {vmid} - unable to parse value of '{match[1]}' - {error}")
        else:
            config.warnings.append(f"vm {vmid} - unable to parse config: {line}")
    for section, lines in descriptions.values():
        section["description"] = "\n".join(lines).rstrip()
    return config


def _section(values, pending=False):
    lines = []
    if values.get("description"):
        lines += ["#" + encode_text(line) for line in values["description"].split("\n")]
    elif "description" in values and pending:
        lines.append("#")
    lines += [f"{key}: {values[key]}" for key in sorted(values) if key != "description"]
    return "".join(line + "\n" for line in lines)


def write(config):
    """The file's bytes: description, sorted keys, then [PENDING], the special sections and the snapshots."""
    used = {drives.parse(key, config.main[key])["file"] for key in drives.keys(config.main)}
    main = {key: value for key, value in config.main.items() if not (key.startswith("unused") and value in used)}
    text = _section(main)
    if config.pending:
        text += "\n[PENDING]\n" + _section(config.pending, pending=True)
    for name in sorted(config.special):
        text += f"\n[special:{name}]\n" + _section(config.special[name])
    for name in sorted(config.snapshots):
        text += f"\n[{name}]\n" + _section(config.snapshots[name])
    return text.encode("utf-8")


def pending_deletes(config):
    """{key: forced} of the `delete:` line of [PENDING]."""
    found = {}
    for item in re.split(r"[,;\s]+", str(config.pending.get("delete", ""))):
        if item:
            found[item.lstrip("!")] = item.startswith("!")
    return found


def with_pending(config):
    """The main section as `qm config` shows it: with what is pending applied."""
    values = {key: value for key, value in config.main.items() if key not in pending_deletes(config)}
    values.update({key: value for key, value in config.pending.items() if key != "delete"})
    return values
