"""storage.cfg and what lies behind it: RBD through the rbd command, `local` as a folder."""
import glob
import hashlib
import json
import os
import re
import subprocess
import sys

from . import drives, guests, node
from .errors import Die

# What a pool is said to have free where no ceph-mgr counts: the lab runs none.
UNCOUNTED = 100 << 30

# Options that are 0 or 1: a storage's section is read without what says it otherwise (`krbd yes`).
BOOLEANS = ("disable", "krbd", "shared", "sparse")

RBD_NAME = re.compile(r"((base-(\d+)-\S+)/)?((base)?(vm)?-(\d+)-\S+)")


def read_config():
    """{id: properties} by PVE's rules: a blank line ends a section, a header without one before it is not seen."""
    try:
        with open(node.path("/etc/pve/storage.cfg"), "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        raw = b""
    digest = hashlib.sha1(raw).hexdigest()
    found, section = {}, None
    for number, line in enumerate(raw.decode("utf-8", "replace").split("\n"), 1):
        line = line.rstrip()
        where = f"file /etc/pve/storage.cfg line {number}"
        if line.startswith("#") or not line:
            section = None if not line else section
            continue
        if section is None:
            match = re.fullmatch(r"(\S+):\s*([a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9])\s*", line)
            if match:
                section = found.setdefault(match[2], {"type": match[1].lower()})
                name = match[2]
            else:
                sys.stderr.write(f"{where} - ignore config line: {line}\n")
            continue
        match = re.fullmatch(r"\s+(\S+)(?:\s+(.*\S))?\s*", line)
        if not match:
            sys.stderr.write(f"{where} (section '{name}') - ignore config line: {line}\n")
        elif match[1] in section:
            sys.stderr.write(f"{where} (section '{name}') - unable to parse value of '{match[1]}': duplicate attribute\n")
        elif match[1] in BOOLEANS and match[2] not in (None, "0", "1"):
            sys.stderr.write(f"{where} (section '{name}') - unable to parse value of '{match[1]}': "
                             f"type check ('boolean') failed - got '{match[2]}'\n")
        else:
            section[match[1]] = match[2] if match[2] is not None else "1"
    found.setdefault("local", {"type": "dir", "path": "/var/lib/vz", "priority": "0", "prune-backups": "keep-all=1",
                               "content": "backup,iso,images,rootdir,snippets,vztmpl"})
    for section in found.values():
        section["digest"] = digest
        if section["type"] == "rbd":
            section.setdefault("pool", "rbd")
            section.setdefault("content", "images")
    return found


def on(section, flag):
    return section.get(flag, "0") == "1"


def get(storage):
    section = read_config().get(storage)
    if section is None:
        raise Die(f"storage '{storage}' does not exist")
    return section


def enabled(section):
    nodes = re.split(r"[\s,;]+", section.get("nodes", "").strip())
    return not on(section, "disable") and (nodes == [""] or node.name() in nodes)


def usable(storage):
    section = get(storage)
    if on(section, "disable"):
        raise Die(f"storage '{storage}' is disabled")
    if not enabled(section):
        raise Die(f"storage '{storage}' is not available on node '{node.name()}'")
    return section


def split(volid):
    match = re.fullmatch(r"(?i)([a-z][a-z0-9._-]*[a-z0-9]):(.+)", volid)
    if not match:
        raise Die(f"unable to parse volume ID '{volid}'")
    return match[1], match[2]


class Volume:
    """A parsed volume name of an RBD storage."""

    def __init__(self, name):
        match = RBD_NAME.fullmatch(name)
        if not match:
            raise Die(f"unable to parse rbd volume name '{name}'", 2)
        self.base, self.image, self.vmid = match[2], match[4], int(match[7])
        self.is_base = bool(match[5])


class Rbd:
    """An rbd storage: how PVE reaches it, and what it does there."""

    def __init__(self, storage, section=None):
        self.storage, self.section = storage, section or get(storage)
        self.pool, self.namespace = self.section["pool"], self.section.get("namespace")
        self.user = self.section.get("username", "admin")
        self.monitors = [host for host in re.split(r"[\s,;]+", self.section.get("monhost", "")) if host]

    def keyring(self):
        keyring = f"/etc/pve/priv/ceph/{self.storage}.keyring"
        return keyring if os.path.exists(node.path(keyring)) else None

    def conf(self):
        """Hyper-converged: the cluster's ceph.conf; external: a file of the storage's own, if it exists."""
        if not self.monitors:
            return "/etc/pve/ceph.conf"
        own = f"/etc/pve/priv/ceph/{self.storage}.conf"
        return own if os.path.exists(node.path(own)) else None

    def path(self, name, real=False):
        """`pvesm path`; real: with PVE_ROOT in front of the files, for opening it."""
        place = node.path if real else str
        image = Volume(name).image
        spec = "/".join(part for part in (self.pool, self.namespace, image) if part)
        if on(self.section, "krbd"):
            return f"/dev/rbd-pve/{self.fsid()}/{spec}"
        text = f"rbd:{spec}"
        if self.conf():
            text += f":conf={place(self.conf())}"
        if self.monitors:
            hosts = ";".join(self.monitors).replace(":", "\\:")
            text += f":mon_host={hosts}:auth_supported={'cephx' if self.keyring() else 'none'}"
        if self.keyring():
            text += f":id={self.user}:keyring={place(self.keyring())}"
        return text

    def fsid(self):
        try:
            with open(node.path(self.conf() or "/etc/ceph/ceph.conf"), encoding="utf-8") as file:
                match = re.search(r"(?m)^\s*fsid\s*=\s*(\S+)", file.read())
        except FileNotFoundError:
            match = None
        if not match:
            raise Die("cluster fsid has invalid format", 2)
        return match[1]

    def activate(self):
        """PVE 9 writes the configuration of an external cluster on first use."""
        own = f"/etc/pve/priv/ceph/{self.storage}.conf"
        if self.monitors and self.keyring() and not os.path.exists(node.path(own)):
            guests.replace(own, f"[global]\n\tkeyring = {self.keyring()}\n\n".encode())

    def connection(self):
        args = []
        if self.conf():
            args += ["-c", node.path(self.conf())]
        if self.monitors:
            args += ["-m", ",".join(self.monitors)]
        args += ["--auth_supported", "cephx" if self.keyring() else "none", "-n", f"client.{self.user}"]
        if self.keyring():
            args += ["--keyring", node.path(self.keyring())]
        return args

    def rbd(self, *operation, what="rbd error"):
        namespace = ["--namespace", self.namespace] if self.namespace else []
        command = ["/usr/bin/rbd", "-p", self.pool, *namespace, *self.connection(), *operation]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Die(f"{what}: {(done.stderr.strip().splitlines() or ['exit code %d' % done.returncode])[-1]}",
                      min(done.returncode, 255))
        return done.stdout

    def list(self, vmid=None):
        """[(volid, size, vmid, parent)] of images named as PVE names them, sorted."""
        found = []
        for entry in json.loads(self.rbd("ls", "-l", "--format", "json", what="rbd error: rbd") or "[]"):
            match = re.match(r"(vm|base)-(\d+)-", entry["image"])
            if not match or "snapshot" in entry or (vmid is not None and int(match[2]) != vmid):
                continue
            parent = entry.get("parent")
            name = entry["image"]
            if parent and parent["image"].startswith("base-") and parent["snapshot"] == "__base__":
                name = f"{parent['image']}/{name}"
            parent = parent and f"{parent['image']}@{parent['snapshot']}"
            found.append((f"{self.storage}:{name}", int(entry["size"]), int(match[2]), parent))
        return sorted(found)

    def size(self, name):
        return int(json.loads(self.rbd("info", Volume(name).image, "--format", "json"))["size"])

    def exists(self, name):
        return Volume(name).image in json.loads(self.rbd("ls", "--format", "json") or "[]")

    def free_name(self, vmid):
        """The first unused number; vm-100-disk-0-data counts as disk 0."""
        used = {int(match[1]) for image in json.loads(self.rbd("ls", "--format", "json") or "[]")
                if (match := re.match(rf"(?:vm|base)-{vmid}-disk-(\d+)", image))}
        return f"vm-{vmid}-disk-{next(n for n in range(len(used) + 1) if n not in used)}"

    def create(self, name, size):
        self.activate()
        data_pool = ["--data-pool", self.section["data-pool"]] if "data-pool" in self.section else []
        self.rbd("create", "--image-format", "2", "--size", str(-(-size >> 20)), *data_pool, name,
                 what=f"rbd create '{name}' error")

    def snapshots(self, name):
        return json.loads(self.rbd("snap", "ls", Volume(name).image, "--format", "json") or "[]")

    def free(self, name):
        """Unprotect, purge, remove: every snapshot goes, whoever made it."""
        image = Volume(name).image
        for snapshot in self.snapshots(name):
            if str(snapshot.get("protected")).lower() == "true":
                if snapshot["name"] == "__base__" and self.rbd("children", "--snap", "__base__", image).strip():
                    raise Die(f"base volume '{name}' is still in use by linked clones")
                self.rbd("snap", "unprotect", "--snap", snapshot["name"], image)
        self.rbd("snap", "purge", image)
        self.rbd("rm", image, what=f"rbd rm '{image}' error")

    def snapshot(self, verb, name, snap):
        self.rbd("snap", verb, "--snap", snap, Volume(name).image,
                 what=f"rbd snapshot '{Volume(name).image}' error")

    def make_base(self, name):
        """A template's disk: renamed base-..., with a protected snapshot for linked clones."""
        image = Volume(name).image
        base = re.sub(r"^vm-", "base-", image)
        self.rbd("rename", image, base)
        if not any(snapshot["name"] == "__base__" for snapshot in self.snapshots(base)):
            self.snapshot("create", base, "__base__")
            self.snapshot("protect", base, "__base__")
        return base

    def clone(self, name, vmid):
        base, new = Volume(name).image, self.free_name(vmid)
        data_pool = ["--data-pool", self.section["data-pool"]] if "data-pool" in self.section else []
        target = "/".join(part for part in (self.pool, self.namespace, new) if part)
        self.rbd("clone", base, "--snap", "__base__", *data_pool, target)
        return f"{base}/{new}"

    def usage(self):
        """(total, used, available) in bytes, from `ceph df`; without a ceph-mgr that lists no pools."""
        command = ["/usr/bin/ceph", *self.connection(), "--connect-timeout", "5", "df", "--format", "json"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Die(done.stderr.strip() or "ceph df failed")
        pools = json.loads(done.stdout)["pools"]
        if not pools:
            return UNCOUNTED, 0, UNCOUNTED
        for pool in pools:
            if pool["name"] == self.pool:
                used = pool["stats"].get("stored", pool["stats"].get("bytes_used", 0))
                return used + pool["stats"]["max_avail"], used, pool["stats"]["max_avail"]
        raise Die(f"could not get usage stats for pool '{self.pool}'")


class Folder:
    """A dir storage, only as far as ISO images, backups and image files go."""

    KINDS = {"iso": "template/iso", "vztmpl": "template/cache", "backup": "dump", "snippets": "snippets"}

    def __init__(self, storage, section=None):
        self.storage, self.section = storage, section or get(storage)
        self.root = self.section.get("path", "/var/lib/vz")

    def path(self, name, real=False):
        kind, _, rest = name.partition("/")
        if kind in self.KINDS and rest:
            full = f"{self.root}/{self.KINDS[kind]}/{rest}"
        elif re.fullmatch(r"\d+/[^/]+", name):
            full = f"{self.root}/images/{name}"
        else:
            raise Die(f"unable to parse directory volume name '{name}'")
        return node.path(full) if real else full

    def exists(self, name):
        return os.path.exists(self.path(name, real=True))

    def size(self, name):
        try:
            return os.path.getsize(self.path(name, real=True))
        except FileNotFoundError:
            raise Die(f"volume '{self.storage}:{name}' does not exist") from None

    def create(self, name, size):
        target = self.path(name, real=True)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "xb") as file:
            file.truncate(size)

    def free(self, name):
        try:
            os.unlink(self.path(name, real=True))
        except FileNotFoundError:
            raise Die(f"disk image '{self.path(name)}' does not exist") from None

    def list(self, vmid=None):
        root = node.path(self.root)
        found = []
        for file in glob.glob(f"{root}/images/*/vm-*"):
            owner = os.path.basename(os.path.dirname(file))
            if owner.isdigit() and vmid in (None, int(owner)):
                found.append((f"{self.storage}:{owner}/{os.path.basename(file)}", os.path.getsize(file), int(owner), None))
        return sorted(found)

    def usage(self):
        os.makedirs(node.path(self.root), exist_ok=True)
        usage = os.statvfs(node.path(self.root))
        total, free = usage.f_blocks * usage.f_frsize, usage.f_bavail * usage.f_frsize
        return total, total - usage.f_bfree * usage.f_frsize, free


def backend(storage, section=None):
    section = section or get(storage)
    if section["type"] == "rbd":
        return Rbd(storage, section)
    if section["type"] == "dir":
        return Folder(storage, section)
    raise Die(f"storage '{storage}': the lab has no '{section['type']}' storages")


def of(volid):
    """(backend, volume name) of a volume."""
    storage, name = split(volid)
    return backend(storage), name


def owner(volid):
    """The VMID in the volume's name."""
    store, name = of(volid)
    if isinstance(store, Rbd):
        return Volume(name).vmid
    match = re.fullmatch(r"(\d+)/[^/]+", name)
    return int(match[1]) if match else None


def allocate(storage, vmid, size, name=None):
    """A new volume's volid; without a name the next vm-ID-disk-N."""
    store = backend(storage, usable(storage))
    if isinstance(store, Rbd):
        name = name or store.free_name(vmid)
    else:
        name = f"{vmid}/{name}" if name else next(
            candidate for n in range(1000) if not store.exists(candidate := f"{vmid}/vm-{vmid}-disk-{n}.raw"))
    store.create(name, size)
    return f"{storage}:{name}"


def size_text(volid):
    store, name = of(volid)
    return drives.format_size(store.size(name))
