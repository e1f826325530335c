"""The files behind /etc/pve: one folder for all nodes of a cluster, and the rules Proxmox keeps for it.

Every node's file system process works on the same folder. Changes happen one at a time under a lock, so that a rename
is seen by all nodes at once and a VMID exists once in the cluster. Without quorum nothing changes.

    tree/          the files themselves
    state.json     what `.vmlist`, `.members` and `.version` count
    online/NODE    locked by NODE's file system while the node lives
    no-quorum      present while the cluster has lost its quorum
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import time
from pathlib import Path

MAX_FILE = 1 << 20
LOCK_LIFETIME = 120
GUEST = re.compile(r"nodes/([^/]+)/(qemu-server|lxc|openvz)/([1-9]\d*)\.conf")
TYPES = {"qemu-server": "qemu", "lxc": "lxc", "openvz": "openvz"}

# The files whose changes `.version` counts, in its order.
COUNTED = [
    "corosync.conf", "corosync.conf.new", "storage.cfg", "user.cfg", "domains.cfg", "notifications.cfg",
    "priv/notifications.cfg", "priv/shadow.cfg", "priv/acme/plugins.cfg", "priv/tfa.cfg", "priv/token.cfg",
    "datacenter.cfg", "vzdump.cron", "vzdump.conf", "jobs.cfg", "ha/crm_commands", "ha/manager_status",
    "ha/resources.cfg", "ha/rules.cfg", "ha/groups.cfg", "ha/fence.cfg", "status.cfg", "replication.cfg", "ceph.conf",
    "sdn/vnets.cfg", "sdn/zones.cfg", "sdn/controllers.cfg", "sdn/subnets.cfg", "sdn/ipams.cfg", "sdn/mac-cache.json",
    "sdn/pve-ipam-state.json", "sdn/dns.cfg", "sdn/.running-config", "virtual-guest/cpu-models.conf",
    "firewall/cluster.fw", "mapping/directory.cfg", "mapping/pci.cfg", "mapping/usb.cfg"]


def guest(path):
    """(VMID, type, node) of a guest's configuration, None for every other file."""
    match = GUEST.fullmatch(path)
    return (int(match[3]), TYPES[match[2]], match[1]) if match else None


def is_private(path):
    return bool(re.match(r"(nodes/[^/]+/)?priv(/|$)", path))


def is_lock(path):
    return re.fullmatch(r"priv/lock/[^/]+", path) is not None


def refuse(number):
    raise OSError(number, os.strerror(number))


class SharedTree:
    """One node's view of the folder. Paths are relative: `nodes/pve01/qemu-server/100.conf`."""

    def __init__(self, folder, node):
        self.folder = Path(folder)
        self.root = self.folder / "tree"
        self.node = node
        self.start = int(time.time())
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._online = self._open_online(node)
        fcntl.flock(self._online, fcntl.LOCK_EX)

    @staticmethod
    def prepare(folder, name, nodes):
        """Makes the empty folder of a cluster; `nodes` is a list of (name, number, address)."""
        folder = Path(folder)
        for part in ("tree", "online"):
            (folder / part).mkdir(parents=True)
        (folder / "cluster.json").write_text(json.dumps({"name": name, "nodes": nodes}))

    def _open_online(self, node):
        return os.open(self.folder / "online" / node, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def real(self, path):
        return self.root / path

    # State that all nodes share

    @contextlib.contextmanager
    def _state(self):
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            try:
                before = (self.folder / "state.json").read_text()
            except FileNotFoundError:
                before = '{"vmlist": 0, "vminfo": 0, "vms": {}, "clinfo": 0, "members": null, "changes": {}}'
            state = json.loads(before)
            try:
                yield state
            finally:
                after = json.dumps(state)
                if after != before:
                    (self.folder / "state.new").write_text(after)
                    os.rename(self.folder / "state.new", self.folder / "state.json")
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    @property
    def quorate(self):
        return not (self.folder / "no-quorum").exists()

    def set_quorate(self, quorate):
        marker = self.folder / "no-quorum"
        marker.unlink(missing_ok=True) if quorate else marker.touch()

    def _is_online(self, node):
        if node == self.node:
            return True
        handle = self._open_online(node)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(handle)

    # Changes

    @contextlib.contextmanager
    def _change(self, without_quorum=errno.EACCES):
        with self._state() as state:
            if not self.quorate:
                refuse(without_quorum)
            yield state

    @staticmethod
    def _count(state, path):
        if path in COUNTED:
            state["changes"][path] = state["changes"].get(path, 0) + 1

    @staticmethod
    def _exists_elsewhere(state, found):
        known = found and state["vms"].get(str(found[0]))
        return bool(known) and (known["type"], known["node"]) != found[1:]

    @staticmethod
    def _register(state, found):
        state["vmlist"] += 1
        state["vminfo"] += 1
        state["vms"][str(found[0])] = {"node": found[2], "type": found[1], "version": state["vminfo"]}

    @staticmethod
    def _forget(state, found):
        state["vmlist"] += 1
        state["vms"].pop(str(found[0]), None)

    def _pwrite(self, state, path, write):
        found = guest(path)
        if self._exists_elsewhere(state, found):
            refuse(errno.EEXIST)
        write()
        self._count(state, path)
        if found:
            self._register(state, found)

    def create(self, path):
        with self._change() as state:
            self._pwrite(state, path, lambda: os.close(
                os.open(self.real(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)))

    def write(self, path, data, offset):
        if offset + len(data) > MAX_FILE:
            refuse(errno.EFBIG)
        with self._change(without_quorum=errno.EIO) as state:
            def write():
                with open(self.real(path), "r+b") as out:
                    out.seek(offset)
                    out.write(data)
            self._pwrite(state, path, write)
        return len(data)

    def truncate(self, path, length):
        if length > MAX_FILE:
            refuse(errno.EFBIG)
        with self._change() as state:
            self._pwrite(state, path, lambda: os.truncate(self.real(path), length))

    def mkdir(self, path):
        with self._change():
            self.real(path).mkdir()

    def unlink(self, path):
        with self._change() as state:
            self.real(path).unlink()
            self._count(state, path)
            if guest(path):
                self._forget(state, guest(path))

    def rmdir(self, path):
        with self._change():
            self.real(path).rmdir()

    def rename(self, old, new):
        with self._change() as state:
            source, target = self.real(old), self.real(new)
            if not source.exists():
                refuse(errno.ENOENT)
            came, goes = guest(old), guest(new)
            if source.is_dir():
                came = goes = None
                if is_lock(old):
                    refuse(errno.EACCES)
                if any(source.iterdir()):
                    refuse(errno.ENOTEMPTY)
            elif self._exists_elsewhere(state, goes) and not (came and came[0] == goes[0]):
                refuse(errno.EEXIST)
            os.rename(source, target)
            os.utime(target)
            self._count(state, old)
            self._count(state, new)
            if came:
                self._forget(state, came)
            if goes:
                self._register(state, goes)

    def set_time(self, path, when):
        """Directories in priv/lock are Proxmox's cluster locks: time 0 asks to break one that nobody renewed."""
        with self._change():
            real = self.real(path)
            changed = real.stat().st_mtime
            if is_lock(path) and when < int(changed):
                if when == 0 and time.time() - changed > LOCK_LIFETIME:
                    real.rmdir()
                refuse(errno.EACCES)
            os.utime(real, (when, when))

    # The files Proxmox makes up, in its own layout

    def vmlist(self):
        with self._state() as state:
            version, vms = state["vmlist"], state["vms"]
        if not vms:
            return f'{{\n"version": {version}\n\n}}\n'
        # In the order of a hash table, as there: nobody shall rely on a sorted list.
        ids = sorted(vms, key=lambda vmid: (int(vmid) * 11 % 7, int(vmid)))
        lines = ",\n".join('"%s": { "node": "%s", "type": "%s", "version": %d }' % (
            vmid, vms[vmid]["node"], vms[vmid]["type"], vms[vmid]["version"]) for vmid in ids)
        return f'{{\n"version": {version},\n"ids": {{\n{lines}}}\n\n}}\n'

    def _members(self):
        """(version, cluster, {node: online}); the version grows whenever one of them changed."""
        cluster = json.loads((self.folder / "cluster.json").read_text())
        quorate = self.quorate
        online = {name: int(self._is_online(name)) for name, _, _ in cluster["nodes"]}
        with self._state() as state:
            if state["members"] != [quorate, online]:
                state["members"] = [quorate, online]
                state["clinfo"] += 1
            return state["clinfo"], cluster, online

    def members(self):
        version, cluster, online = self._members()
        # A node tells its address itself: of one that is off there is none.
        nodes = ",\n".join('  "%s": { "id": %d, "online": %d%s}' % (
            name, number, online[name], f', "ip": "{address}"' if online[name] else "")
            for name, number, address in cluster["nodes"])
        return (f'{{\n"nodename": "{self.node}",\n"version": {version},\n"cluster": {{ "name": "{cluster["name"]}", '
                f'"version": {len(cluster["nodes"])}, "nodes": {len(cluster["nodes"])}, '
                f'"quorate": {int(self.quorate)} }},\n"nodelist": {{\n{nodes}\n  }}\n}}\n')

    def version(self):
        clinfo, _, _ = self._members()
        with self._state() as state:
            counts = "".join(f'"{path}": {state["changes"].get(path, 0)},\n' for path in COUNTED)
            vmlist = state["vmlist"]
        return (f'{{\n"starttime": {self.start},\n"clinfo": {clinfo},\n"vmlist": {vmlist},\n{counts}'
                f'"kvstore": {{\n"{self.node}": {{\n}}\n\n}}\n}}\n')
