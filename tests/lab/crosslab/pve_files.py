"""What is in /etc/pve when a cluster starts: the files Proxmox and its administrator have written by then."""

from . import keys
from .ceph import write_secret
from .layout import CLUSTERS, EAST
from .shared_tree import SharedTree

CEPH_CONF = """\
[global]
\tauth_client_required = cephx
\tauth_cluster_required = cephx
\tauth_service_required = cephx
\tcluster_network = {network}
\tfsid = {fsid}
\tmon_allow_pool_delete = true
\tmon_host = {address}
\tms_bind_ipv4 = true
\tms_bind_ipv6 = false
\tosd_pool_default_min_size = 1
\tosd_pool_default_size = 1
\tpublic_network = {network}

[client]
\tkeyring = /etc/pve/priv/$cluster.$name.keyring

[mon.a]
\tpublic_addr = {address}

"""

LOCAL_STORAGE = """\
dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl,backup,snippets

"""

# (id, pool, more properties); these are in the cluster itself.
STORAGES = [
    ("ceph-ssd", "ssdpool", {"content": "images,rootdir", "krbd": "0"}),
    ("ceph_hdd.x", "hddpool", {"content": "images", "krbd": "0"}),
    ("kr", "ssdpool", {"content": "images", "krbd": "1"}),
]
WEST_STORAGES = [
    ("ssd-b", "other", {"content": "images", "krbd": "0"}),
    ("ns", "ssdpool", {"content": "images", "krbd": "0", "namespace": "nsa"}),
]
EC_STORAGE = ("ec", "ecmeta", {"content": "images", "data-pool": "ecdata", "krbd": "0"})
NAMESPACE = ("ssdpool", "nsa")
EXTERNAL_POOL = "hddpool"
# A pool of the destination that is neither a storage nor for replicas.
UNRELATED_POOL = "elsewhere"


def storages(cluster, ec):
    """The hyper-converged RBD storages of a cluster."""
    if cluster is EAST:
        return STORAGES
    return STORAGES + WEST_STORAGES + ([EC_STORAGE] if ec else [])


def pools(cluster, ec):
    unrelated = set() if cluster is EAST else {UNRELATED_POOL}
    return tuple(sorted({pool for _, pool, _ in storages(cluster, ec)} | {EXTERNAL_POOL} | unrelated))


def crossover_caps(cluster, ec):
    """What docs/access.md gives the user a mirror run has on this side: on the source nothing that writes data."""
    if cluster is EAST:
        osd = [f"profile rbd-read-only pool={pool}, allow rwx pool={pool} object_prefix rbd_header., "
               f"allow rwx pool={pool} object_prefix rbd_object_map." for pool in pools(cluster, ec)]
        return ["mon", "profile rbd-read-only", "osd", ", ".join(osd)]
    data = [EC_STORAGE[2]["data-pool"]] if ec else []
    return ["mon", "profile rbd", "osd", ", ".join(f"profile rbd pool={pool}" for pool in [*pools(cluster, ec), *data]
                                                  if pool != UNRELATED_POOL)]


def _storage_cfg(cluster, ec):
    def section(name, pool, properties):
        return f"rbd: {name}\n" + "".join(f"\t{key} {value}\n" for key, value in
                                         sorted({"pool": pool, **properties}.items())) + "\n"
    external = ("ext", EXTERNAL_POOL, {"content": "images", "krbd": "0", "monhost": cluster.storage,
                                       "username": "backup"})
    return LOCAL_STORAGE + "".join(section(*storage) for storage in [*storages(cluster, ec), external])


def _corosync_conf(cluster):
    nodes = "".join(
        f"  node {{\n    name: {node.name}\n    nodeid: {node.number}\n    quorum_votes: 1\n"
        f"    ring0_addr: {node.address}\n  }}\n" for node in cluster.nodes)
    return (f"logging {{\n  debug: off\n  to_syslog: yes\n}}\n\nnodelist {{\n{nodes}}}\n\n"
            "quorum {\n  provider: corosync_votequorum\n}\n\n"
            f"totem {{\n  cluster_name: {cluster.name}\n  config_version: {len(cluster.nodes)}\n"
            "  interface {\n    linknumber: 0\n  }\n  ip_version: ipv4-6\n  link_mode: passive\n  secauth: on\n"
            "  version: 2\n}\n\n")


def write(state, cluster, ceph, ec):
    """Fills the cluster's /etc/pve. `ceph` has the cluster's fsid, its admin keyring and those of client.backup and client.crossover."""
    folder = state.pmxcfs(cluster)
    SharedTree.prepare(folder, cluster.name, [(node.name, node.number, node.address) for node in cluster.nodes])
    root = folder / "tree"
    # No `firewall`: Proxmox VE makes it when the first rules are written (a fresh cluster has none).
    for name in ("ha", "sdn", "mapping", "virtual-guest", "priv/ceph", "priv/lock", "priv/acme"):
        (root / name).mkdir(parents=True)
    files = {
        "ceph.conf": CEPH_CONF.format(network=cluster.network, address=cluster.storage, fsid=ceph["fsid"]),
        "corosync.conf": _corosync_conf(cluster),
        "datacenter.cfg": "keyboard: en-us\n",
        "storage.cfg": _storage_cfg(cluster, ec),
        "user.cfg": "user:root@pam:1:0:::root@localhost:::\n",
        "priv/known_hosts": "",
        "priv/authorized_keys": "".join(
            keys.root_key(state.node(node) / "upper/root/.ssh")
            for source in ([cluster] if cluster is EAST else CLUSTERS) for node in source.nodes),
        "priv/ceph.client.admin.keyring": ceph["admin"],
        "priv/ceph/ext.keyring": ceph["backup"],
        "priv/ceph.client.crossover.keyring": ceph["crossover"],
        "priv/ceph/ext.conf": "[global]\nkeyring = /etc/pve/priv/ceph/ext.keyring\n",
    }
    for name, _, _ in storages(cluster, ec):
        files[f"priv/ceph/{name}.keyring"] = ceph["admin"]
    for node in cluster.nodes:
        for name in ("qemu-server", "lxc", "openvz", "priv"):
            (root / "nodes" / node.name / name).mkdir(parents=True)
        files[f"nodes/{node.name}/ssh_known_hosts"] = keys.node_known_hosts(node, state.node(node) / "upper/etc/ssh")
    for name, text in files.items():
        write_secret(root / name, text)
