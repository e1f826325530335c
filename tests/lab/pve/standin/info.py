"""qm's reading commands: list, status, config, pending, listsnapshot, showcmd."""
import re
import shlex
import sys
import time

from . import drives, grammar, guests, qemu
from .errors import Die


def boot_order(conf):
    boot = str(conf.get("boot", ""))
    match = re.search(r"order=([^,]*)", boot)
    if match:
        return match[1].split(";")
    return [conf["bootdisk"]] if conf.get("bootdisk") else []


def boot_disk_size(conf):
    """From the line's size option, of the first disk in the boot order; 0 without a boot order."""
    for key in boot_order(conf):
        if key in drives.keys(conf):
            drive = drives.parse(key, conf[key])
            if not drives.is_cdrom(drive):
                return drive.get("size", 0)
    return 0


def summary(vmid, conf):
    """PVE's vmstatus, without what only full status asks QEMU for."""
    pid = qemu.pid(vmid)
    found = {"cpu": 0, "cpus": qemu.cpus(conf), "disk": 0, "maxdisk": boot_disk_size(conf),
             "maxmem": qemu.memory_mib(conf) << 20, "mem": 0, "memhost": 0, "name": conf.get("name", f"VM {vmid}"),
             "netin": 0, "netout": 0, "status": "running" if pid else "stopped", "uptime": 0, "vmid": vmid}
    for key in ("lock", "tags"):
        if key in conf:
            found[key] = conf[key]
    if conf.get("template"):
        found["template"] = 1
    if pid:
        found["pid"] = pid
        found["uptime"] = int(uptime(pid))
        found.update({f"pressure{kind}": 0 for kind in ("cpufull", "cpusome", "iofull", "iosome", "memoryfull", "memorysome")})
    return found


def uptime(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            started = int(file.read().rpartition(")")[2].split()[19]) / 100
        with open("/proc/uptime", encoding="ascii") as file:
            return max(0.0, float(file.read().split()[0]) - started)
    except FileNotFoundError:
        return 0


def full_status(vmid, conf):
    found = summary(vmid, conf)
    found["qmpstatus"] = qemu.state(vmid)
    if found["status"] == "running":
        actual, version, machine = found["maxmem"], "", ""
        try:
            with qemu.Monitor(vmid) as monitor:
                if str(conf.get("balloon", "1")) != "0":
                    actual = monitor("query-balloon")["actual"]
                found["maxmem"] = monitor("query-memory-size-summary")["base-memory"]
                version = "{major}.{minor}.{micro}".format(**monitor("query-version")["qemu"])
                machine = next((m["name"] for m in monitor("query-machines") if m.get("is-default")), "pc")
        except (OSError, Die):
            pass
        found.update(balloon=actual, ballooninfo={"actual": actual, "max_mem": found["maxmem"]}, diskread=0, diskwrite=0)
        found.update({"proxmox-support": {}, "running-qemu": version,
                      "running-machine": conf.get("machine", machine)})
    return found


def list_guests(full=None, vmid=None):
    rows = []
    for number in guests.local_ids():
        conf = guests.load(number).main
        data = summary(number, conf)
        rows.append("%10s %-20s %-10s %-10s %12.2f %-10s\n" % (
            number, data["name"], data["status"], data["maxmem"] >> 20, data["maxdisk"] / (1 << 30), data.get("pid", 0)))
    if rows:
        sys.stdout.write("%10s %-20s %-10s %-10s %12s %-10s\n" % ("VMID", "NAME", "STATUS", "MEM(MB)", "BOOTDISK(GB)", "PID"))
        sys.stdout.write("".join(rows))


def _show(values, indent=""):
    for key in sorted(values):
        if isinstance(values[key], dict):
            sys.stdout.write(f"{indent}{key}:\n")
            _show(values[key], indent + "\t")
        elif key not in ("cpu", "relcpu"):
            sys.stdout.write(f"{indent}{key}: {values[key]}\n")


def status(vmid, verbose=0):
    conf = guests.load(vmid).main
    if verbose:
        _show(full_status(vmid, conf))
    else:
        sys.stdout.write(f"status: {qemu.state(vmid)}\n")


def shown_config(config, current=0, snapshot=None):
    """The values `qm config` and the API show: pending applied, the password masked."""
    if snapshot:
        if snapshot not in config.snapshots:
            raise Die(f"snapshot '{snapshot}' does not exist")
        values = dict(config.snapshots[snapshot])
    else:
        values = dict(config.main) if current else grammar.with_pending(config)
    if "cipassword" in values:
        values["cipassword"] = "**********"
    return values


def config(vmid, current=0, snapshot=None):
    values = shown_config(guests.load(vmid), current, snapshot)
    for key in sorted(values):
        value = grammar.encode_text(values[key]) if key == "description" else values[key]
        sys.stdout.write(f"{key}: {value}\n")


def pending_items(config):
    """[{key, value, pending, delete}] as the API gives them."""
    deletes = grammar.pending_deletes(config)

    def masked(key, value):
        return "**********" if key == "cipassword" else value
    items = []
    for key, value in config.main.items():
        item = {"key": key, "value": masked(key, value)}
        if key in config.pending:
            item["pending"] = masked(key, config.pending[key])
        if key in deletes:
            item["delete"] = 2 if deletes[key] else 1
        items.append(item)
    items += [{"key": key, "pending": masked(key, value)} for key, value in config.pending.items()
              if key != "delete" and key not in config.main]
    items += [{"key": key, "delete": 2 if force else 1} for key, force in deletes.items()
              if key not in config.main and key not in config.pending]
    return items


def pending(vmid):
    for item in sorted(pending_items(guests.load(vmid)), key=lambda item: item["key"]):
        key = item["key"]
        value, new = (grammar.encode_text(text) if key == "description" and text is not None else text
                      for text in (item.get("value"), item.get("pending")))
        if value is not None:
            if item.get("delete"):
                sys.stdout.write(f"del {key}: {value}\n")
                continue
            sys.stdout.write(f"cur {key}: {value}\n")
        if new is not None:
            sys.stdout.write(f"new {key}: {new}\n")


def snapshot_tree(config):
    """The tree of `qm listsnapshot`: by parent, then time, `current` last."""
    entries = {name: dict(section) for name, section in config.snapshots.items()}
    entries["current"] = {"parent": config.main.get("parent"), "description": "You are here!"}
    children, roots = {}, []
    for name, entry in entries.items():
        parent = entry.get("parent")
        if parent in entries:
            children.setdefault(parent, []).append(name)
        else:
            roots.append(name)
    lines = []

    def age(name):
        return entries[name].get("snaptime", float("inf"))

    def walk(prefix, name):
        entry = entries[name]
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["snaptime"])) if "snaptime" in entry else ""
        text = (entry.get("description") or "no-description").split("\n")[0]
        lines.append(f"{prefix} {name:<{max(0, 30 - len(prefix))}} {moment:<23} {text}\n")
        for child in sorted(children.get(name, []), key=age):
            walk(" " + prefix, child)
    for name in sorted(roots, key=age):
        walk("`->", name)
    return "".join(lines)


def listsnapshot(vmid):
    sys.stdout.write(snapshot_tree(guests.load(vmid)))


def showcmd(vmid, pretty=0, snapshot=None):
    command = qemu.Machine(vmid, shown_config(guests.load(vmid), snapshot=snapshot)).command()
    text = " ".join(shlex.quote(part) for part in command)
    sys.stdout.write((text.replace(" -", " \\\n  -") if pretty else text) + "\n")
