"""ha-manager: status, config, add, set, remove, crm-command."""
import re
import time

from . import cli, guests, ha, node
from .cli import Command, boolean, integer
from .errors import Die


def sid(text):
    match = re.fullmatch(r"(?:(vm|ct):)?(\d+)", text)
    if not match:
        raise ValueError(f"invalid format - unable to parse service ID '{text}'\n")
    return f"{match[1] or 'vm'}:{match[2]}"


def moment(seconds):
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(seconds))


def status_rows():
    """[(kind, text, fields)] of the status, as command and API show it."""
    rows = []
    me = node.name()
    if node.has_quorum():
        rows.append(("quorum", "OK", {"quorate": 1}))
    else:
        rows.append(("quorum", f"No quorum on node '{me}'!", {"quorate": 0}))
    manager = ha.manager_status()
    master = manager.get("master_node")
    mode = ha.disarmed(manager)
    if master:
        idle = time.time() - manager.get("timestamp", 0) > 120
        state = "old timestamp - dead?" if idle else "active"
        told = f" - disarmed, resource mode: {mode}" if mode else ""
        rows.append((f"master {master}", f"({state}, {moment(manager['timestamp'])}){told}", {}))
        if mode:
            rows.append(("fencing", f"disarmed, resource mode: {mode} (CRM watchdog released)",
                         {"armed-state": "disarmed", "resource-mode": mode}))
        else:
            rows.append(("fencing", "armed (CRM watchdog active)", {"armed-state": "armed"}))
    else:
        rows.append(("fencing", "standby (CRM watchdog standby)", {"armed-state": "standby"}))
    if master:
        for name in sorted(node.members()[0]):
            lrm = ha.lrm_status(name)
            if not lrm:
                continue
            if time.time() - lrm["timestamp"] > 30:
                text = f"(old timestamp - dead?, {moment(lrm['timestamp'])})"
            elif mode:
                text = f"(disarm mode, watchdog released, {moment(lrm['timestamp'])})"
            elif lrm["state"] == "active":
                text = f"(active, watchdog active, {moment(lrm['timestamp'])})"
            else:
                text = f"({lrm['state']}, watchdog standby, {moment(lrm['timestamp'])})"
            rows.append((f"lrm {name}", text, {}))
    owners = guests.all_ids()
    for identifier, options in sorted(ha.resources().items()):
        owner = owners.get(int(identifier.split(":")[1]), (me, ""))[0]
        at, state = ha.service_state(identifier, options, owner)
        rows.append((f"service {identifier}", f"({at}, {state})", {"state": state, "node": at, "options": options}))
    return rows


def status(verbose=0):
    for kind, text, _ in status_rows():
        print(f"{kind} {text}")


def config(**_):
    for identifier, options in sorted(ha.resources().items()):
        print(identifier)
        for key in sorted(options):
            print(f"\t{key} {options[key]}")
        print()


def add(sid, **options):
    with ha.lock():
        found = ha.resources()
        if int(sid.split(":")[1]) not in guests.all_ids():
            raise Die(f"resource '{sid}' does not exist in cluster", 17)
        if sid in found:
            raise Die(f"create resource failed: resource ID '{sid}' already defined")
        found[sid] = _clean(options)
        ha.write_resources(found)


def _clean(options):
    options = {key: str(value) for key, value in options.items()}
    if "state" in options:
        options["state"] = {"enabled": "started", "disabled": "stopped"}.get(options["state"], options["state"])
    return options


def change(sid, delete=None, digest=None, **options):
    with ha.lock():
        found = ha.resources()
        if sid not in found:
            raise Die(f"update resources config failed: no such resource '{sid}'")
        # pve-ha-manager's check_service_state: what failed is taken out before anything else is asked of it.
        failed = ha.service_state(sid, found[sid], "")[1] == "error"
        if failed and options.get("state") != "disabled":
            raise Die(f"service '{sid}' in error state, must be disabled and fixed first")
        found[sid].update(_clean(options))
        for key in (delete or "").split(","):
            found[sid].pop(key, None)
        ha.write_resources(found)


def remove(sid, purge=1):
    """Its settings go with it."""
    with ha.lock():
        found = ha.resources()
        if sid not in found:
            raise Die(f"cannot delete service '{sid}', not HA managed!")
        del found[sid]
        ha.write_resources(found)


def crm_stop(sid, timeout):
    ha.queue(f"stop {sid} {timeout}")


def disarm(mode):
    ha.queue(f"disarm-ha {mode}")


def arm():
    ha.queue("arm-ha")


def crm_move(verb):
    def run(sid, node):
        ha.queue(f"{verb} {sid} {node}")
    return run


SID = ("sid", sid)
OPTIONS = {"state": cli.one_of(*ha.STATES), "comment": str, "group": str, "max_restart": integer, "max_relocate": integer,
           "failback": boolean, "type": str}
COMMANDS = {
    "status": Command(status, "status  [OPTIONS]", [], {"verbose": boolean}),
    "config": Command(config, "config  [OPTIONS]", [], {"type": str}),
    "add": Command(add, "add <sid> [OPTIONS]", [SID], OPTIONS),
    "set": Command(change, "set <sid> [OPTIONS]", [SID], {**OPTIONS, "delete": str, "digest": str}),
    "remove": Command(remove, "remove <sid> [OPTIONS]", [SID], {"purge": boolean}),
    "crm-command stop": Command(crm_stop, "crm-command stop <sid> <timeout>", [SID, ("timeout", integer)]),
    "crm-command disarm-ha": Command(disarm, "crm-command disarm-ha <resource-mode>",
                                     [("mode", cli.one_of("freeze", "ignore"))]),
    "crm-command arm-ha": Command(arm, "crm-command arm-ha"),
    "crm-command migrate": Command(crm_move("migrate"), "crm-command migrate <sid> <node>", [SID, ("node", str)]),
    "crm-command relocate": Command(crm_move("relocate"), "crm-command relocate <sid> <node>", [SID, ("node", str)]),
}


def unknown(words):
    return f"ERROR: unknown command 'ha-manager {' '.join(words[:1])}'\nUSAGE: ha-manager <COMMAND> [ARGS] [OPTIONS]\n"


def main():
    cli.main("ha-manager", COMMANDS, unknown)
