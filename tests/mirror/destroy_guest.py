"""Removes a guest of the node it runs in, with its images and all their snapshots, whatever state it is in:
destroy_guest.py NODE VMID. Run with the node's own python3; one process instead of one for each image and snapshot."""

import contextlib
import os
import re
import subprocess
import sys
import time

import rados
import rbd

GIVE_UP_SECONDS = 90


def remove(image_of, name):
    with image_of(name) as image:
        for snap in list(image.list_snaps()):
            with contextlib.suppress(rbd.InvalidArgument):
                image.unprotect_snap(snap["name"])
            image.remove_snap(snap["name"])


def main():
    node, vmid = sys.argv[1:]
    conf = f"/etc/pve/nodes/{node}/qemu-server/{vmid}.conf"
    if os.path.exists(conf):
        for word in ("unlock", "stop"):
            subprocess.run(["qm", word, vmid], capture_output=True, check=False)
    with rados.Rados(conffile="/etc/pve/ceph.conf") as cluster:
        for pool in cluster.list_pools():
            with cluster.open_ioctx(pool) as ioctx:
                for name in rbd.RBD().list(ioctx):
                    if not re.match(rf"vm-{vmid}-", name):
                        continue
                    remove(lambda name: rbd.Image(ioctx, name), name)  # noqa: B023: called at once
                    deadline = time.monotonic() + GIVE_UP_SECONDS
                    while True:
                        try:
                            rbd.RBD().remove(ioctx, name)
                            break
                        except rbd.ImageBusy:  # a client that was killed: Ceph notices by its watch timeout
                            if time.monotonic() > deadline:
                                raise
                            time.sleep(0.2)
    for path in (conf, f"/etc/pve/firewall/{vmid}.fw"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


main()
