"""Prints, as JSON, everything a mirror run could change on the side of the node it runs in: the files of /etc/pve with
their times, and of each RBD image its id, size, snapshots and metadata. Run with the node's own python3."""

import contextlib
import hashlib
import json
import os

import rados
import rbd

ROOT = "/etc/pve"


def files():
    """Paths below /etc/pve to time and digest: a file that was written again with the same bytes counts as changed."""
    found = {}
    for folder, folders, names in os.walk(ROOT):
        # HA's managers and the locks of priv/lock write by themselves; what begins with a dot is made up when read.
        folders[:] = [name for name in folders if f"{folder}/{name}" not in (f"{ROOT}/ha", f"{ROOT}/priv/lock")]
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith(".") or os.path.islink(path) or name == "lrm_status":
                continue
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
                found[path] = [os.fstat(file.fileno()).st_mtime_ns, hashlib.sha256(file.read()).hexdigest()]
    return found


def images():
    found = {}
    with rados.Rados(conffile=f"{ROOT}/ceph.conf") as cluster:
        for pool in cluster.list_pools():
            with cluster.open_ioctx(pool) as ioctx:
                for namespace in ["", *rbd.RBD().namespace_list(ioctx)]:
                    ioctx.set_namespace(namespace)
                    for name in rbd.RBD().list(ioctx):
                        with rbd.Image(ioctx, name, read_only=True) as image:
                            found["/".join(filter(None, (pool, namespace, name)))] = {
                                "id": image.id(), "size": image.size(), "meta": dict(image.metadata_list()),
                                "snapshots": [[snap["id"], snap["name"], snap["size"]] for snap in image.list_snaps()]}
    return found


print(json.dumps({"files": files(), "images": images()}, sort_keys=True))
