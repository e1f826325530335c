"""HA's files: resources.cfg, the queue of commands, the status of manager and nodes."""
import json
import os
import re

from . import guests, node

RESOURCES = "/etc/pve/ha/resources.cfg"
COMMANDS = "/etc/pve/ha/crm_commands"
MANAGER = "/etc/pve/ha/manager_status"
STATES = ("started", "stopped", "enabled", "disabled", "ignored")


def _read(absolute):
    try:
        with open(node.path(absolute), encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def read_json(absolute):
    try:
        return json.loads(_read(absolute) or "{}")
    except ValueError:
        return {}


def write(absolute, text):
    os.makedirs(os.path.dirname(node.path(absolute)), exist_ok=True)
    guests.replace(absolute, text.encode())


def resources():
    """{"vm:100": {option: value}} in the file's order."""
    found, section = {}, None
    for line in _read(RESOURCES).split("\n"):
        if not line.strip():
            section = None
        elif match := re.fullmatch(r"(vm|ct):\s*(\d+)\s*", line):
            section = found.setdefault(f"{match[1]}:{match[2]}", {})
        elif section is not None and (match := re.fullmatch(r"\s+(\S+)(?:\s+(.*\S))?\s*", line)):
            section[match[1]] = match[2] or ""
    return found


def write_resources(found):
    text = ""
    for sid, options in found.items():
        kind, number = sid.split(":")
        text += f"{kind}: {number}\n" + "".join(f"\t{key} {options[key]}\n" for key in sorted(options)) + "\n"
    write(RESOURCES, text)


def lock():
    return guests.flock("/var/lock/pve-manager/ha-domain.lck")


def sid(vmid):
    return f"vm:{vmid}"


def configured(vmid):
    return sid(vmid) in resources()


def requested(options):
    state = options.get("state", "started")
    return {"enabled": "started", "disabled": "stopped"}.get(state, state)


def managed(vmid):
    """Whether qm only queues: the resource exists and is not `ignored`, as all are once HA is disarmed to `ignore`."""
    found = resources().get(sid(vmid))
    return found is not None and requested(found) != "ignored" and disarmed() != "ignore"


def queue(command):
    """Appends to the CRM's commands, e.g. `stop vm:100 60`."""
    with lock():
        write(COMMANDS, _read(COMMANDS) + command + "\n")


def take_commands():
    with lock():
        text = _read(COMMANDS)
        if text:
            write(COMMANDS, "")
    return text.splitlines()


def set_state(identifier, state):
    with lock():
        found = resources()
        found[identifier]["state"] = state
        write_resources(found)


def manager_status():
    return read_json(MANAGER)


def disarmed(status=None):
    """`freeze` or `ignore`, what becomes of the services while HA is disarmed; None: it is not."""
    return (manager_status() if status is None else status).get("disarm", {}).get("mode")


def lrm_status(of_node):
    return read_json(f"/etc/pve/nodes/{of_node}/lrm_status")


def service_state(identifier, options, owner):
    """(node, state) as shown: queued until the manager knows the service."""
    if disarmed():
        return owner, disarmed()
    known = manager_status().get("service_status", {}).get(identifier)
    if requested(options) == "ignored":
        return owner, "ignored"
    if known is None:
        return owner, "queued"
    return known["node"], known["state"]
