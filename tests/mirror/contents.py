"""What a guest's images and their snapshots hold, as JSON: {pool/image: {snapshot: digest}}, the head's as
that of "". contents.py VMID, run with a node's own python3; one process instead of one for each snapshot."""

import hashlib
import json
import sys

import rados
import rbd


def digest(ioctx, name, snapshot):
    with rbd.Image(ioctx, name, snapshot=snapshot, read_only=True) as image:
        return hashlib.sha256(image.read(0, image.size())).hexdigest()


def contents(vmid):
    found = {}
    with rados.Rados(conffile="/etc/pve/ceph.conf") as cluster:
        for pool in ("ssdpool", "hddpool"):
            with cluster.open_ioctx(pool) as ioctx:
                for name in rbd.RBD().list(ioctx):
                    if not name.startswith(f"vm-{vmid}-"):
                        continue
                    with rbd.Image(ioctx, name, read_only=True) as image:
                        names = [one["name"] for one in image.list_snaps()]
                    found[f"{pool}/{name}"] = {one: digest(ioctx, name, one or None) for one in ["", *names]}
    return found


json.dump(contents(sys.argv[1]), sys.stdout)
