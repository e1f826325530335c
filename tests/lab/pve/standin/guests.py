"""The configuration files of this node's VMs: found, locked, read, replaced."""
import contextlib
import fcntl
import os
import re
import sys
import time

from . import grammar, node
from .errors import Die

LOCK_TIMEOUT = 10


def config_path(vmid, of_node=None):
    """As PVE names it in messages: relative to /etc/pve."""
    return f"nodes/{of_node or node.name()}/qemu-server/{vmid}.conf"


def local_ids():
    """Guests are the files named by a number without leading zero."""
    try:
        names = os.listdir(node.path(f"/etc/pve/nodes/{node.name()}/qemu-server"))
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"([1-9]\d*)\.conf", name)))


def all_ids():
    """{vmid: (node, "qemu"|"lxc")} of the whole cluster."""
    found = {}
    root = node.path("/etc/pve/nodes")
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        for folder, kind in (("qemu-server", "qemu"), ("lxc", "lxc")):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for file in os.listdir(f"{root}/{name}/{folder}"):
                    if match := re.fullmatch(r"([1-9]\d*)\.conf", file):
                        found[int(match[1])] = (name, kind)
    return found


def load(vmid, of_node=None, warn=True):
    relative = config_path(vmid, of_node)
    try:
        with open(node.path(f"/etc/pve/{relative}"), "rb") as file:
            config = grammar.parse(file.read(), vmid)
    except FileNotFoundError:
        raise Die(f"Configuration file '{relative}' does not exist", 2) from None
    if warn:
        for text in config.warnings:
            sys.stderr.write(text + "\n")
    return config


def replace(absolute, data):
    """Written beside as <file>.tmp.<pid>, then renamed over: what pmxcfs makes atomic for the whole cluster."""
    temporary = f"{absolute}.tmp.{os.getpid()}"
    try:
        fd = os.open(node.path(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    except OSError as error:
        raise Die(f"unable to open file '{temporary}' - {error.strerror}", 2) from None
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.rename(node.path(temporary), node.path(absolute))
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(node.path(temporary))
        raise Die(f"unable to write '{absolute}' - {error.strerror}", 5) from None


def save(vmid, config):
    replace(f"/etc/pve/{config_path(vmid)}", grammar.write(config))


def remove(vmid):
    os.unlink(node.path(f"/etc/pve/{config_path(vmid)}"))


@contextlib.contextmanager
def flock(absolute, timeout=LOCK_TIMEOUT):
    """PVE::Tools::lock_file: node-local, ten seconds, with its words."""
    os.makedirs(os.path.dirname(node.path(absolute)), exist_ok=True)
    with open(node.path(absolute), "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("trying to acquire lock...\n")
            sys.stderr.flush()
            deadline = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise Die(f"can't lock file '{absolute}' - got timeout", 4) from None
                    time.sleep(0.05)
            sys.stderr.write(" OK\n")
        yield


def lock(vmid, timeout=LOCK_TIMEOUT):
    return flock(f"/var/lock/qemu-server/lock-{vmid}.conf", timeout)


def check_lock(config, *exceptions):
    """Any value of `lock` blocks, known or not."""
    value = config.main.get("lock")
    if value is not None and value not in exceptions:
        raise Die(f"VM is locked ({value})")


def is_template(config):
    return bool(config.main.get("template"))
