"""The guest agent behind /var/run/qemu-server/ID.qga: one client at a time, each command after a delimited sync."""
import json
import os
import re
import socket
import time

from . import node
from .cli import boolean
from .errors import Die

PING_TIMEOUT = 3
TIMEOUTS = {"guest-fsfreeze-freeze": 3600, "guest-fsfreeze-thaw": 180, "guest-fstrim": 600, "guest-shutdown": 600}
COMMANDS = ("fsfreeze-freeze, fsfreeze-status, fsfreeze-thaw, fstrim, get-fsinfo, get-host-name, get-memory-block-info, "
            "get-memory-blocks, get-osinfo, get-time, get-timezone, get-users, get-vcpus, info, network-get-interfaces, ping, "
            "shutdown, suspend-disk, suspend-hybrid, suspend-ram").split(", ")


def options(conf):
    """The parts of `agent: 1,freeze-fs=0`; None without such a line."""
    if "agent" not in conf:
        return None
    found = {}
    for part in str(conf["agent"]).split(","):
        name, equals, value = part.partition("=")
        found[name if equals else "enabled"] = value if equals else part
    return found


def enabled(conf):
    found = options(conf)
    return bool(found) and bool(boolean(found.get("enabled", "0")))


def freezes(conf):
    """freeze-fs=0, or an alias of it (PVE::QemuServer::Agent's format), keeps `qm snapshot` from freezing, `qm guest cmd` not."""
    found = options(conf) or {}
    said = [found[name] for name in ("freeze-fs", "freeze-fs-on-backup", "guest-fsfreeze") if name in found]
    return enabled(conf) and all(bool(boolean(value)) for value in said)


def call(vmid, execute, timeout=None, reply=True, **arguments):
    """The agent's answer {"return": ..} or {"error": ..}; OSError if none comes in time."""
    deadline = time.monotonic() + (timeout or TIMEOUTS.get(execute, 5))
    sync = os.getpid() * 1000 + int(time.monotonic() * 1000) % 1000
    request = {"execute": execute, **({"arguments": arguments} if arguments else {})}
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(max(0.1, deadline - time.monotonic()))
        link.connect(f"{node.run_dir()}/{vmid}.qga")
        link.sendall(f'{{"execute":"guest-sync-delimited","arguments":{{"id":{sync}}}}}\n{json.dumps(request)}\n'.encode())
        data = b""

        def line():
            nonlocal data
            while b"\n" not in data:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("got timeout")
                link.settimeout(left)
                part = link.recv(65536)
                if not part:
                    raise ConnectionError("agent closed the connection")
                data += part
            text, data = data.split(b"\n", 1)
            return text

        while True:
            text = line()
            if b"\xff" in text and json.loads(text.rpartition(b"\xff")[2]).get("return") == sync:
                break
        return json.loads(line()) if reply else None


def answers(vmid):
    try:
        return "return" in call(vmid, "guest-ping", PING_TIMEOUT)
    except (OSError, ValueError):
        return False


def require(conf, vmid, running):
    """The checks of `qm guest cmd`, in its order."""
    if options(conf) is None:
        raise Die("No QEMU guest agent configured")
    if not running:
        raise Die(f"VM {vmid} is not running", 2)
    if not enabled(conf) or not answers(vmid):
        raise Die("QEMU guest agent is not running", 2)


def pretty(value, indent=0):
    """JSON as Perl's `pretty canonical` prints it: three blanks, ` : `, keys sorted."""
    pad, inner = "   " * indent, "   " * (indent + 1)
    if isinstance(value, dict):
        if not value:
            return "{}"
        body = ",\n".join(f"{inner}{json.dumps(key)} : {pretty(value[key], indent + 1)}" for key in sorted(value))
        return "{\n" + body + "\n" + pad + "}"
    if isinstance(value, list):
        if not value:
            return "[]"
        return "[\n" + ",\n".join(inner + pretty(item, indent + 1) for item in value) + "\n" + pad + "]"
    return json.dumps(value, ensure_ascii=False)


def command(vmid, name):
    """`qm guest cmd`: what to print. An agent's error is printed as JSON - and the exit code is 0."""
    execute = f"guest-{name}"
    try:
        if name == "shutdown":
            call(vmid, execute, reply=False)
            return ""
        answer = call(vmid, execute)
    except OSError as error:
        raise Die(f"VM {vmid} qga command '{execute}' failed - {error}") from None
    if "error" in answer:
        return pretty({"error": {key: answer["error"].get(key) for key in ("class", "desc")}}) + "\n"
    value = answer.get("return")
    if value == {} or value is None:
        return ""
    return (pretty(value) if isinstance(value, (dict, list)) else str(value)) + "\n"


def freeze(vmid):
    """True if this call froze the guest; a failure is only told, as PVE does."""
    answer = call(vmid, "guest-fsfreeze-freeze")
    if "error" in answer:
        raise OSError(re.sub(r"\s+$", "", answer["error"].get("desc", "")))
    return True
