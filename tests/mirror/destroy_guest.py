"""Removes a guest of the node it runs in, with its images and all their snapshots, whatever state it is in:
destroy_guest.py NODE VMID. Run with the node's own python3; one process instead of one for each image and snapshot."""

import contextlib
import os
import subprocess
import sys
import time

import rados
import rbd

GIVE_UP_SECONDS = 90


def remove(ioctx, name):
    """The image with its snapshots. A client that was killed has it open until Ceph notices by its watch timeout, and a run
    that is being ended may make a last snapshot."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while True:
        try:
            with rbd.Image(ioctx, name) as image:
                for snap in list(image.list_snaps()):
                    if image.is_protected_snap(snap["name"]):
                        image.unprotect_snap(snap["name"])
                    image.remove_snap(snap["name"])
            rbd.RBD().remove(ioctx, name)
        except rbd.ImageNotFound:
            pass
        except (rbd.ImageBusy, rbd.ImageHasSnapshots, rbd.ReadOnlyImage):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
            continue
        return


def main():
    node, vmid = sys.argv[1:]
    conf = f"/etc/pve/nodes/{node}/qemu-server/{vmid}.conf"
    if os.path.exists(conf):
        for word in ("unlock", "stop"):
            subprocess.run(["qm", word, vmid], capture_output=True, check=False)
    with rados.Rados(conffile="/etc/pve/ceph.conf") as cluster:
        for pool in cluster.list_pools():
            with cluster.open_ioctx(pool) as ioctx:
                for namespace in ["", *rbd.RBD().namespace_list(ioctx)]:
                    ioctx.set_namespace(namespace)
                    for name in rbd.RBD().list(ioctx):
                        if name.startswith(f"vm-{vmid}-"):
                            remove(ioctx, name)
    for path in (conf, f"/etc/pve/firewall/{vmid}.fw"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


main()
