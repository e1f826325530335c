"""`pve-ha daemon`: the resource managers of one node, CRM and LRM in one loop.

The master stays while it is online; else it is the online node with the lowest id. It reads the queued commands, decides
what each service is to
be, and recovers the services of a node that stayed away: their configurations move to a node that is there, and every
lock goes. Each node starts and stops its own services. Once around a second instead of every ten."""
import json
import os
import signal
import sys
import threading
import time

from . import grammar, guests, ha, node, power, qemu
from .cli import Command, main as run_cli
from .errors import Die

INTERVAL = 1.0
# A real node that lost its watchdog is fenced after two minutes.
FENCE_AFTER = 15.0
# How old what /cluster/resources says of a guest may be: pvestatd tells every ten seconds.
BROADCAST_EVERY = 10.0


def as_json(value):
    return json.dumps(value, sort_keys=True)


class Manager:
    def __init__(self, interval=INTERVAL, fence_after=FENCE_AFTER, broadcast_every=BROADCAST_EVERY):
        self.interval, self.fence_after, self.broadcast_every = interval, fence_after, broadcast_every
        self.failures, self.told, self.told_at = {}, {}, float("-inf")

    # The master's part.

    def master(self):
        nodes, _ = node.members()
        present = ha.manager_status().get("master_node")
        if nodes.get(present, {}).get("online"):
            return present
        online = [(data["id"], name) for name, data in nodes.items() if data.get("online")]
        return min(online)[1] if online else node.name()

    def decide(self):
        """Commands taken, requests compared, dead nodes' services recovered: writes manager_status."""
        resources = ha.resources()
        status = ha.manager_status()
        status["master_node"] = node.name()
        status["timestamp"] = int(time.time())
        services = status.setdefault("service_status", {})
        seen = status.setdefault("last_seen", {})
        nodes, _ = node.members()
        owners = {vmid: owner for vmid, (owner, kind) in guests.all_ids().items() if kind == "qemu"}
        for name, data in nodes.items():
            if data.get("online") or name not in seen:
                seen[name] = time.time()
        changed = False
        for line in ha.take_commands():
            verb, identifier, *rest = [*line.split(), ""]
            if verb == "disarm-ha":
                status["disarm"] = {"mode": identifier, "state": "disarmed"}
            elif verb == "arm-ha":
                status.pop("disarm", None)
            elif verb == "stop" and identifier in resources:
                resources[identifier]["state"] = "stopped"
                status.setdefault("stop_timeouts", {})[identifier] = int(rest[0])
                changed = True
            elif verb in ("migrate", "relocate") and identifier in resources and rest[0] in nodes:
                services.setdefault(identifier, {})["target"] = rest[0]
        if changed:
            with ha.lock():
                current = ha.resources()
                for identifier, options in resources.items():
                    if identifier in current and options.get("state") == "stopped":
                        current[identifier]["state"] = "stopped"
                ha.write_resources(current)
        if ha.disarmed(status):
            # It takes no service in or out, and neither starts, stops nor recovers one.
            ha.write(ha.MANAGER, as_json(status))
            return
        for identifier in [known for known in services if known not in resources]:
            del services[identifier]
        for identifier, options in resources.items():
            if not identifier.startswith("vm:") or ha.requested(options) == "ignored":
                services.pop(identifier, None)
                continue
            vmid = int(identifier[3:])
            if vmid not in owners:
                continue
            service = services.setdefault(identifier, {})
            service["node"] = owners[vmid]
            if not nodes.get(owners[vmid], {}).get("online"):
                self.recover(identifier, vmid, service, nodes, seen)
                continue
            wanted = ha.requested(options)
            result = ha.lrm_status(owners[vmid]).get("results", {}).get(identifier, {})
            if wanted == "started":
                status.get("stop_timeouts", {}).pop(identifier, None)
                service["state"] = "error" if result.get("state") == "error" else "started"
            else:
                service["state"] = "stopped" if result.get("state") == "stopped" else "request_stop"
        ha.write(ha.MANAGER, as_json(status))

    def recover(self, identifier, vmid, service, nodes, seen):
        """fence until the node has been away long enough, then the configuration moves and loses its lock."""
        old = service["node"]
        service["state"] = "fence"
        if time.time() - seen.get(old, 0) < self.fence_after:
            return
        target = min(name for name, data in nodes.items() if data.get("online"))
        config = guests.load(vmid, old, warn=False)
        os.rename(node.path(f"/etc/pve/{guests.config_path(vmid, old)}"),
                  node.path(f"/etc/pve/{guests.config_path(vmid, target)}"))
        if config.main.pop("lock", None) is not None:
            guests.replace(f"/etc/pve/{guests.config_path(vmid, target)}", grammar.write(config))
        print(f"recover service '{identifier}' from fenced node '{old}' to node '{target}'", flush=True)
        service.update(node=target, state="started")

    # Every node's part.

    def act(self):
        """Brings this node's services to what the master wants, and tells."""
        me = node.name()
        results = {}
        manager = ha.manager_status()
        resources = ha.resources()
        local = set(guests.local_ids())
        for identifier, service in manager.get("service_status", {}).items() if not ha.disarmed(manager) else ():
            vmid = int(identifier[3:])
            if service.get("node") != me or vmid not in local or identifier not in resources:
                continue
            running = bool(qemu.pid(vmid))
            wanted = ha.requested(resources[identifier])
            if service.get("state") in ("started", "error") and wanted == "started":
                if not running and not self.start(vmid, identifier, resources[identifier]):
                    results[identifier] = {"state": "error"}
                    continue
                results[identifier] = {"state": "started"}
            elif wanted == "stopped":
                self.failures.pop(identifier, None)
                if running:
                    self.stop(vmid, manager.get("stop_timeouts", {}).get(identifier, 60))
                if not qemu.pid(vmid):
                    results[identifier] = {"state": "stopped"}
        self.tell(local)
        state = "active" if results else "wait_for_agent_lock"
        ha.write(f"/etc/pve/nodes/{me}/lrm_status",
                 as_json({"mode": "active", "state": state, "timestamp": int(time.time()), "results": results,
                          "guests": self.told}))

    def tell(self, local):
        """pvestatd's part: name, status, template of this node's guests, for /cluster/resources."""
        if time.monotonic() - self.told_at < self.broadcast_every:
            return
        self.told, self.told_at = {}, time.monotonic()
        for vmid in local:
            conf = guests.load(vmid, warn=False).main
            self.told[vmid] = {"name": conf.get("name", f"VM {vmid}"), "template": int(conf.get("template", 0)),
                               "status": "running" if qemu.pid(vmid) else "stopped"}

    def start(self, vmid, identifier, options):
        """False when the service has failed more often than max_restart allows; `stopped` clears that."""
        if self.failures.get(identifier, 0) > int(options.get("max_restart", 1)):
            return False
        try:
            power.start_here(vmid)
            self.failures.pop(identifier, None)
            print(f"started {identifier}", flush=True)
        except Die as error:
            if qemu.pid(vmid):
                return True
            self.failures[identifier] = self.failures.get(identifier, 0) + 1
            print(f"unable to start {identifier}: {error}", flush=True)
        return True

    def stop(self, vmid, timeout):
        """With force after the timeout; timeout 0 is a hard stop."""
        try:
            power.stop_here(vmid, timeout=timeout or None, shutdown=bool(timeout), force=True)
            print(f"stopped vm:{vmid}", flush=True)
        except Die as error:
            print(f"unable to stop vm:{vmid}: {error}", flush=True)

    def once(self):
        if not node.has_quorum():
            return
        if self.master() == node.name():
            self.decide()
        self.act()

    def loop(self):
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        while not ended.is_set():
            try:
                self.once()
            except (Die, OSError, ValueError, KeyError) as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            ended.wait(self.interval)


def seconds(text):
    return float(text)


OPTIONS = {"interval": seconds, "fence-after": seconds, "broadcast-every": seconds}


def manager(options):
    return Manager(**{name.replace("-", "_"): value for name, value in options.items()})


def daemon(**options):
    manager(options).loop()


def once(**options):
    manager(options).once()


COMMANDS = {"daemon": Command(daemon, "daemon [OPTIONS]", [], OPTIONS), "once": Command(once, "once [OPTIONS]", [], OPTIONS)}


def main():
    usage = "usage: pve-ha daemon|once [--interval S] [--fence-after S] [--broadcast-every S]\n"
    run_cli("pve-ha", COMMANDS, lambda words: usage)
