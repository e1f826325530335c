"""A real Ceph cluster in a folder: one monitor, one or more OSDs, cephx, no manager.

Nothing outside the folder is touched: keyrings, sockets, logs, crash reports and data all live in it.
"""

import base64
import glob
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import rados
import rbd

from . import process
from .process import LabError, wait_until

# A log nobody reads costs more than it tells on a small machine.
QUIET = "asok auth bdev bluefs bluestore crush filestore heartbeatmap mgrc mon monc ms objecter osd paxos " \
        "rados rbd rocksdb"

CONFIG = """\
[global]
fsid = {fsid}
mon_host = [v2:{address}:{port},v1:{address}:{v1_port}]
public_network = {address}/32
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_allow_pool_delete = true
osd_crush_chooseleaf_type = 0

[mon]
public_addr = {address}
mon_data = {folder}/$type.$id
mon_initial_members = a
mon_cluster_log_to_file = false
mon_data_avail_crit = 1
mon_data_avail_warn = 2
mon_memory_autotune = false
mon_osd_cache_size = 10
mon_osd_cache_size_min = 4M
rocksdb_cache_size = 16M
mon_warn_on_pool_no_redundancy = false
# A port that is taken is an error at once, not after retries.
ms_bind_retry_count = 1
# A snapshot needs a map change: 0.06 s instead of one second.
paxos_propose_interval = 0.01
paxos_min_wait = 0.005
{daemon}
[osd]
public_addr = {address}
cluster_addr = {address}
osd_data = {folder}/$type.$id
osd_objectstore = {store}
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
ms_bind_port_min = {osd_port}
ms_bind_port_max = {last_port}
memstore_device_bytes = {memstore_bytes}
bluestore_block_size = {bluestore_bytes}
bluestore_cache_autotune = false
bluestore_cache_size = 64M
bluestore_rocksdb_options = compression=kNoCompression,max_write_buffer_number=4,min_write_buffer_number_to_merge=1,\
recycle_log_file_num=4,write_buffer_size=16777216,writable_file_max_buffer_size=0,compaction_readahead_size=2097152,\
max_background_compactions=2
# The machine compiles while it tests: a slow heartbeat is no dead OSD.
osd_heartbeat_grace = 60
osd_max_object_name_len = 256
osd_max_object_namespace_len = 64
{daemon}
[client]
keyring = {folder}/ceph.client.admin.keyring
"""

DAEMON = """\
keyring = {folder}/$type.$id/keyring
run_dir = {folder}/run
crash_dir = {folder}/crash
admin_socket =
log_file =
log_to_stderr = false
err_to_stderr = true
ms_async_op_threads = 2
{extra}"""

PORTS = 64


class MonitorEnded(LabError):
    """The monitor did not come up; most likely its port was taken."""


@dataclass
class Cluster:
    """Where a cluster lives, and how large it may become. Block files are sparse."""
    folder: Path
    address: str = "127.0.0.1"
    port: int = 3300
    v1_port: int = 6789
    osd_port: int = 6800
    store: str = "bluestore"
    osds: int = 1
    pools: tuple = ("rbd", "other")
    ec_pool: str = ""
    memstore_bytes: int = 6 << 30
    bluestore_bytes: int = 64 << 30

    @property
    def config(self):
        return self.folder / "ceph.conf"

    @property
    def keyring(self):
        return self.folder / "ceph.client.admin.keyring"


def new_key():
    """A cephx secret as `ceph-authtool --gen-print-key` makes it: type, time, length, 16 bytes."""
    now = time.time_ns()
    head = struct.pack("<HIIH", 1, now // 10**9, now % 10**9, 16)
    return base64.b64encode(head + os.urandom(16)).decode()


def write_secret(path, text):
    """Creates a file only root can read, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)


def _entry(name, key, **caps):
    lines = [f"[{name}]", f"\tkey = {key}"] + [f'\tcaps {who} = "{what}"' for who, what in caps.items()]
    return "\n".join(lines) + "\n"


def _plugin_paths():
    """Debian 13's OSD looks for its plug-ins under a relative path unless it is told where they are."""
    for classes in glob.glob("/usr/lib/*/rados-classes"):
        library = f"{os.path.dirname(classes)}/ceph"
        return f"osd_class_dir = {classes}\nerasure_code_dir = {library}/erasure-code\nplugin_dir = {library}\n"
    return ""


def _write_config(cluster, fsid):
    extra = _plugin_paths() + "".join(f"debug_{name} = 0/0\n" for name in QUIET.split())
    text = CONFIG.format(
        fsid=fsid, daemon=DAEMON.format(folder=cluster.folder, extra=extra), last_port=cluster.osd_port + PORTS - 4,
        **vars(cluster))
    cluster.config.write_text(text)


def _run(*argv):
    done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"{argv[0]} failed: {done.stderr.strip() or done.stdout.strip()}")


def _start(cluster, name, *argv):
    """Starts a daemon that outlives us; its messages go to a file of its own."""
    with open(cluster.folder / "log" / f"{name}.log", "ab") as log:
        child = subprocess.Popen([*argv, "-c", str(cluster.config), "-f"], cwd="/", stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log, start_new_session=True)
    process.remember(cluster.folder / f"{name}.pid", child.pid)
    return child


def _make_file_systems(cluster, fsid):
    """Creates the stores of all daemons at the same time, without a running monitor. Returns the OSDs' uuids."""
    folder = cluster.folder
    mon_key, admin_key = new_key(), new_key()
    keys = _entry("mon.", mon_key, mon="allow *")
    admin = _entry("client.admin", admin_key, mds="allow *", mgr="allow *", mon="allow *", osd="allow *")
    write_secret(cluster.keyring, admin)
    uuids = []
    makers = []
    for number in range(cluster.osds):
        key = new_key()
        keys += _entry(f"osd.{number}", key, mgr="allow profile osd", mon="allow profile osd", osd="allow *")
        data = folder / f"osd.{number}"
        data.mkdir()
        write_secret(data / "keyring", _entry(f"osd.{number}", key))
        uuids.append(str(uuid.uuid4()))
        makers.append(["ceph-osd", "-i", str(number), "--mkfs", "--no-mon-config", "--osd-uuid", uuids[-1],
                       "-c", str(cluster.config)])
    write_secret(folder / "initial.keyring", keys + admin)
    _run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a",
         f"[v2:{cluster.address}:{cluster.port},v1:{cluster.address}:{cluster.v1_port}]", folder / "monmap")
    makers.append(["ceph-mon", "-i", "a", "--mkfs", "--monmap", str(folder / "monmap"),
                   "--keyring", str(folder / "initial.keyring"), "-c", str(cluster.config)])
    children = [(argv, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)) for argv in makers]
    failures = [f"{argv[0]} --mkfs: {text.strip()}" for argv, child in children
                for text in [child.communicate()[1]] if child.returncode]
    if failures:
        raise LabError("; ".join(failures))
    (folder / "initial.keyring").unlink()
    (folder / "monmap").unlink()
    return uuids


class Commander:
    """Monitor commands over one connection; the `ceph` program costs half a second a call."""

    def __init__(self, cluster):
        self._client = rados.Rados(conffile=str(cluster.config), name="client.admin")
        self._client.connect(timeout=20)

    def __call__(self, prefix, **arguments):
        code, out, message = self._client.mon_command(json.dumps({"prefix": prefix, "format": "json", **arguments}), b"")
        if code:
            raise LabError(f"ceph {prefix}: {message or os.strerror(-code)}")
        return json.loads(out) if out.strip() else None

    def prepare_pool(self, name):
        """What `rbd pool init` does; it is also the proof that the pool takes writes."""
        with self._client.open_ioctx(name) as pool:
            rbd.RBD().pool_init(pool, True)

    def create_namespace(self, pool, name):
        with self._client.open_ioctx(pool) as context:
            rbd.RBD().namespace_create(context, name)

    def close(self):
        self._client.shutdown()


def _create_pools(cluster, ceph):
    for pool in cluster.pools:
        ceph("osd pool create", pool=pool, pg_num=8)
    if cluster.ec_pool:
        ceph("osd erasure-code-profile set", name="lab", profile=["k=2", "m=1", "crush-failure-domain=osd"])
        ceph("osd pool create", pool=cluster.ec_pool, pg_num=8, pool_type="erasure", erasure_code_profile="lab")
        ceph("osd pool set", pool=cluster.ec_pool, var="allow_ec_overwrites", val="true")
        ceph("osd pool application enable", pool=cluster.ec_pool, app="rbd")


def up(cluster):
    """Makes and starts the cluster; returns when its pools take writes. The folder must be empty or new."""
    folder = cluster.folder
    for name in ("", "mon.a", "run", "log", "crash"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    fsid = str(uuid.uuid4())
    _write_config(cluster, fsid)
    uuids = _make_file_systems(cluster, fsid)
    monitor = _start(cluster, "mon.a", "ceph-mon", "-i", "a")
    ceph = _connect(cluster, monitor)
    try:
        for number, osd_uuid in enumerate(uuids):
            ceph("osd new", uuid=osd_uuid, id=number)
            _start(cluster, f"osd.{number}", "ceph-osd", "-i", str(number))
        _create_pools(cluster, ceph)
        wait_until(lambda: ceph("osd stat")["num_up_osds"] == cluster.osds, f"OSDs of {folder}", timeout=60)
        for pool in cluster.pools:
            ceph.prepare_pool(pool)
    finally:
        ceph.close()
    return fsid


def _connect(cluster, monitor):
    """Waits for the monitor's port first: a client that finds nobody there waits seconds before it tries again."""
    def ended():
        if monitor.poll() is None:
            return False
        log = (cluster.folder / "log" / "mon.a.log").read_text(errors="replace").strip().splitlines()
        raise MonitorEnded("the monitor ended: " + " | ".join(log[-3:]))

    def listening():
        with socket.socket() as probe:
            return not ended() and probe.connect_ex((cluster.address, cluster.port)) == 0

    wait_until(listening, "the monitor")
    try:
        return Commander(cluster)
    except rados.Error as error:
        # Somebody else's monitor may listen there; then ours is about to end.
        wait_until(ended, f"connection to the monitor ({error})", timeout=5)


def down(folder):
    """Kills the daemons of a cluster and removes what `up` made. Does nothing where there is no cluster."""
    folder = Path(folder)
    for record in folder.glob("*.pid"):
        process.kill(record)
    for pattern in ("mon.*", "osd.*", "run", "log", "crash", "ceph.conf", "ceph.client.admin.keyring",
                    "initial.keyring", "monmap"):
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
