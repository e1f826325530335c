"""pvesh get PATH --output-format json: one line, keys sorted, numbers as numbers."""
import hashlib
import json
import re
import sys

from . import cli, guests, ha, ha_manager, info, node, pvesm, storage
from .cli import Command, boolean, integer
from .errors import Die

# Where these are numbers in the API although the file holds text.
NUMBERS = ("disable", "krbd", "maxfiles", "priority", "shared")


def storages(one=None):
    found = []
    for name, section in storage.read_config().items():
        values = {"storage": name, **section}
        for key in NUMBERS:
            if key in values:
                values[key] = int(values[key]) if key == "priority" else int(storage.on(values, key))
        if section["type"] == "rbd":
            values["shared"] = 1
        for key in ("content", "nodes"):
            if key in values:
                values[key] = ",".join(part for part in re.split(r"[\s,;]+", values[key]) if part)
        found.append(values)
    if one is None:
        return found
    for values in found:
        if values["storage"] == one:
            return values
    raise Die(f"storage '{one}' does not exist")


def nodes():
    members, _ = node.members()
    return [{"id": f"node/{name}", "node": name, "type": "node", "status": "online" if data.get("online") else "offline",
             "level": "", "ssl_fingerprint": "", **({"cpu": 0, "maxcpu": 2, "mem": 0, "maxmem": 0, "disk": 0, "maxdisk": 0,
                                                     "uptime": 1} if data.get("online") else {})}
            for name, data in sorted(members.items())]


def cluster_status():
    members, cluster = node.members()
    found = []
    if cluster:
        found.append({"id": "cluster", "type": "cluster", "name": cluster["name"], "nodes": cluster["nodes"],
                      "quorate": cluster["quorate"], "version": cluster["version"]})
    for name, data in sorted(members.items()):
        found.append({"id": f"node/{name}", "type": "node", "name": name, "nodeid": data["id"], "ip": data.get("ip", ""),
                      "local": int(name == node.name()), "online": data.get("online", 0), "level": ""})
    return found


def broadcast(vmid, owner, conf):
    """name, status, template as pvestatd last told them - here the node's pve-ha daemon, in lrm_status. Without that
    daemon this node's guests are looked at, the others' are unknown."""
    told = ha.lrm_status(owner).get("guests")
    if told is not None:
        return told.get(str(vmid), {"status": "unknown"})
    if owner == node.name():
        state = info.summary(vmid, conf)
        return {"name": state["name"], "status": state["status"], "template": state.get("template", 0)}
    return {"status": "unknown"}


def guest_resource(vmid, owner, flavour, alive):
    """node, lock, tags are live; status, name, template are not, and those of a dead node are unknown and nameless."""
    entry = {"id": f"{flavour}/{vmid}", "vmid": vmid, "node": owner, "type": flavour, "status": "unknown"}
    if flavour == "lxc":
        if alive:
            entry.update(status="stopped", template=0)
        return entry
    conf = guests.load(vmid, owner, warn=False).main
    entry.update({key: conf[key] for key in ("lock", "tags") if key in conf})
    managed = ha.resources()
    if ha.sid(vmid) in managed:
        entry["hastate"] = ha.service_state(ha.sid(vmid), managed[ha.sid(vmid)], owner)[1]
    if alive:
        state = info.summary(vmid, conf)
        entry.update(maxcpu=state["cpus"], maxmem=state["maxmem"], maxdisk=state["maxdisk"],
                     **dict.fromkeys("cpu mem memhost disk netin netout diskread diskwrite uptime".split(), 0))
        entry.update(broadcast(vmid, owner, conf))
    return entry


def resources(kind=None):
    members, _ = node.members()
    found = []
    if kind in (None, "vm"):
        found += [guest_resource(vmid, owner, flavour, members.get(owner, {}).get("online"))
                  for vmid, (owner, flavour) in sorted(guests.all_ids().items())]
    if kind in (None, "node"):
        found += nodes()
    if kind in (None, "storage"):
        for name, data in sorted(members.items()):
            found += [{"id": f"storage/{name}/{values['storage']}", "node": name, "storage": values["storage"],
                       "type": "storage", "status": "available" if data.get("online") else "unknown",
                       "plugintype": values["type"], "shared": values.get("shared", 0), "content": values.get("content", "")}
                      for values in storages()]
    return found


def ha_current():
    found = []
    for kind, text, fields in ha_manager.status_rows():
        name, _, rest = kind.partition(" ")
        if name == "quorum":
            found.append({"id": "quorum", "node": node.name(), "quorate": fields["quorate"], "status": text, "type": name})
        elif name == "fencing":
            found.append({"id": name, "node": node.name(), "status": text, "type": name, "armed-state": fields["armed-state"]})
        elif name in ("master", "lrm"):
            identifier = "master" if name == "master" else f"lrm:{rest}"
            found.append({"id": identifier, "node": rest, "status": f"{rest} {text}", "type": name})
        else:
            options = fields["options"]
            found.append({"id": f"service:{rest}", "sid": rest, "node": fields["node"], "state": fields["state"],
                          "status": f"{rest} {text}", "type": name, "failback": 1, "request_state": ha.requested(options),
                          "max_relocate": int(options.get("max_relocate", 1)), "max_restart": int(options.get("max_restart", 1))})
    return found


def digest_of(absolute):
    try:
        with open(node.path(absolute), "rb") as file:
            return hashlib.sha1(file.read()).hexdigest()
    except FileNotFoundError:
        return hashlib.sha1(b"").hexdigest()


def ha_resource(identifier, options):
    numbers = ("max_restart", "max_relocate", "failback")
    return {"digest": digest_of(ha.RESOURCES), "sid": identifier, "type": identifier.split(":")[0],
            **{key: int(value) if key in numbers else value for key, value in options.items()}}


def next_id():
    used = guests.all_ids()
    return str(next(number for number in range(100, 1 << 30) if number not in used))


def qemu_list(owner):
    return [info.summary(vmid, guests.load(vmid, owner).main)
            for vmid, (at, kind) in sorted(guests.all_ids().items()) if at == owner and kind == "qemu"]


def qemu_status(owner, vmid):
    conf = guests.load(vmid, owner).main
    found = info.full_status(vmid, conf)
    if conf.get("agent") and str(conf["agent"])[:1] == "1":
        found["agent"] = 1
    found["ha"] = {"managed": int(ha.configured(vmid))}
    if ha.configured(vmid):
        known = ha.manager_status().get("service_status", {}).get(ha.sid(vmid), {})
        found["ha"]["state"] = known.get("state")
    return found


def qemu_snapshots(owner, vmid):
    config = guests.load(vmid, owner)
    found = []
    for name, section in config.snapshots.items():
        entry = {"name": name, "description": section.get("description", ""), "snaptime": section.get("snaptime", 0),
                 "vmstate": int("vmstate" in section)}
        for key in ("parent", "snapstate"):
            if key in section:
                entry[key] = section[key]
        found.append(entry)
    current = {"name": "current", "description": "You are here!", "digest": config.digest,
               "running": int(info.summary(vmid, config.main)["status"] == "running")}
    if "parent" in config.main:
        current["parent"] = config.main["parent"]
    return found + [current]


def qemu_config(owner, vmid, current=0, snapshot=None):
    config = guests.load(vmid, owner)
    return {**info.shown_config(config, current, snapshot), "digest": config.digest}


def qemu_pending(owner, vmid):
    config = guests.load(vmid, owner)
    return info.pending_items(config) + [{"key": "digest", "value": config.digest}]


def content(store, vmid=None, kind=None):
    return [{"volid": volid, "content": what, "size": size, "vmid": owner, "parent": parent, "format": "raw",
             "name": volid.partition(":")[2].rpartition("/")[2]}
            for volid, what, size, owner, parent in pvesm.entries(store, vmid, kind)]


def node_storage():
    return [{"storage": name, "type": kind, "total": total, "used": used, "avail": available, "active": int(state == "active"),
             "enabled": int(state != "disabled"), "content": storage.get(name).get("content", ""),
             "shared": int(kind == "rbd")} for name, kind, state, total, used, available in pvesm.states()]


def get(path, **options):
    parts = [part for part in path.split("/") if part]
    vmid = options.get("vmid")
    routes = {
        ("cluster", "status"): cluster_status,
        ("cluster", "resources"): lambda: resources(options.get("type")),
        ("cluster", "nextid"): next_id,
        ("cluster", "ha", "status", "current"): ha_current,
        ("cluster", "ha", "resources"): lambda: [ha_resource(*entry) for entry in ha.resources().items()],
        ("nodes",): nodes,
        ("storage",): storages,
        ("version",): lambda: {"release": "9.2", "repoid": "a1b2c3d4e5f60718", "version": "9.2.11"},
    }
    if tuple(parts) in routes:
        return routes[tuple(parts)]()
    if len(parts) == 2 and parts[0] == "storage":
        return storages(parts[1])
    if len(parts) == 4 and parts[:3] == ["cluster", "ha", "resources"]:
        found = ha.resources()
        if parts[3] not in found:
            raise Die(f"no such resource '{parts[3]}'")
        return ha_resource(parts[3], found[parts[3]])
    if len(parts) >= 3 and parts[0] == "nodes":
        owner, kind, rest = parts[1], parts[2], parts[3:]
        if kind == "qemu" and not rest:
            return qemu_list(owner)
        if kind == "qemu" and rest[0].isdigit():
            number, what = int(rest[0]), "/".join(rest[1:])
            if what == "config":
                return qemu_config(owner, number, options.get("current", 0), options.get("snapshot"))
            functions = {"status/current": qemu_status, "pending": qemu_pending, "snapshot": qemu_snapshots}
            if what in functions:
                return functions[what](owner, number)
        if kind == "storage" and not rest:
            return node_storage()
        if kind == "storage" and rest[1:] == ["content"]:
            return content(rest[0], vmid, options.get("content"))
    raise Die(f"No 'get' handler defined for '{path}'")


def get_command(path, **options):
    """Without --output-format a table on a real node; here JSON always."""
    options.pop("output-format", None)
    sys.stdout.write(json.dumps(get(path, **options), sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")


OPTIONS = {"output-format": str, "type": str, "vmid": integer, "content": str, "current": boolean, "snapshot": str,
           "noborder": boolean, "human-readable": boolean}
COMMANDS = {"get": Command(get_command, "get <api_path> [OPTIONS]", [("path", str)], OPTIONS)}


def main():
    cli.main("pvesh", COMMANDS, lambda words: "USAGE: pvesh <COMMAND> [ARGS] [OPTIONS]\n")
