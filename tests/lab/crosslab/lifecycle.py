"""Building a lab and taking it down again."""

import contextlib
import fcntl
import os
import shutil
import subprocess

from . import ceph, network, node, process, pve_files, sandbox
from .layout import CLUSTERS, GUEST_BUILD, GUEST_CACHE, NODES, WEST
from .namespaces import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount
from .process import LabError
from .sandbox import Task


@contextlib.contextmanager
def locked(state):
    """One command at a time changes a lab. The lock is on the folder itself, which `down` removes."""
    while True:
        state.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(state.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                current = os.stat(state.folder)
            except FileNotFoundError:
                continue
            if os.path.samestat(current, os.fstat(handle)):
                yield
                return
        finally:
            os.close(handle)


def is_up(state):
    return (state.folder / "ready").exists() and process.alive(state.record("lab")) is not None


def _own_proc():
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _storage(cluster):
    return f"storage-{cluster.name}"


def _ceph_cluster(state, cluster, store, ec):
    with_ec = ec and cluster is WEST
    if with_ec:
        store = "bluestore"  # The only one that can overwrite in an erasure-coded pool.
    return ceph.Cluster(state.ceph(cluster), cluster.storage, store=store, osds=3 if with_ec else 1,
                        pools=pve_files.pools(cluster, ec), ec_pool="ecdata" if with_ec else "")


def _start_ceph(state, cluster, store, ec):
    """Runs inside the storage sandbox. Returns what the nodes need to reach this Ceph."""
    made = _ceph_cluster(state, cluster, store, ec)
    fsid = ceph.up(made)
    commander = ceph.Commander(made)
    try:
        backup = commander("auth get-or-create", entity="client.backup",
                           caps=["mon", "profile rbd", "osd", f"profile rbd pool={pve_files.EXTERNAL_POOL}"])
        crossover = commander("auth get-or-create", entity="client.crossover", caps=pve_files.crossover_caps(cluster, ec))
        if cluster is WEST:
            commander.create_namespace(*pve_files.NAMESPACE)
    finally:
        commander.close()
    return {"fsid": fsid, "admin": made.keyring.read_text(),
            "backup": f"[client.backup]\n\tkey = {backup[0]['key']}\n",
            "crossover": f"[client.crossover]\n\tkey = {crossover[0]['key']}\n"}


def _build_guest():
    """Builds the guests' kernel and initial disk where the repository has them; says whether it has."""
    if not GUEST_BUILD.exists():
        return False
    GUEST_CACHE.mkdir(parents=True, exist_ok=True)
    handle = os.open(GUEST_CACHE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = subprocess.run([GUEST_BUILD, GUEST_CACHE], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    finally:
        os.close(handle)
    if done.returncode:
        raise LabError(f"guest image: {done.stderr.strip() or done.stdout.strip()}")
    return True


def up(state, store, ec):
    """Returns False when the lab was up already."""
    with locked(state):
        if is_up(state):
            return False
        _tear_down(state)
        try:
            _build(state, store, ec)
        except BaseException:
            _tear_down(state)
            with contextlib.suppress(OSError):
                state.folder.rmdir()
            raise
        return True


def _build(state, store, ec):
    for name in ("run", "log", "nodes", "ceph", "pmxcfs"):
        (state.folder / name).mkdir()
    state.folder.chmod(0o755)
    guest = Task(_build_guest)
    installs = [Task(node.prepare, state, each) for each in NODES.values()]
    lab = sandbox.create(state.record("lab"), _own_proc, state.log("lab"))
    network.up(state, lab)
    starts = {}
    for cluster in CLUSTERS:
        name = _storage(cluster)
        pid = sandbox.create(state.record(name), _own_proc, state.log(name), within=lab)
        network.plug(state, cluster, "ceph", pid, cluster.storage)
        starts[cluster] = Task(_start_ceph, state, cluster, store, ec, within=pid)
    for task in installs:
        task.result()
    for cluster, task in starts.items():
        pve_files.write(state, cluster, task.result(), ec)
    has_guest = guest.result()
    for each in NODES.values():
        node.configure(state, each, has_guest)
    boots = [Task(node.boot, state, each) for each in NODES.values()]
    for task in boots:
        task.result()
    (state.folder / "ready").touch()


def down(state):
    if not state.folder.exists():
        return
    with locked(state):
        _tear_down(state)
        state.folder.rmdir()


def _tear_down(state):
    """Kills the lab's first process, and with it every process, mount and interface of the lab; then its files."""
    process.kill(state.record("lab"), timeout=60)
    for entry in state.folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
