"""What these tests share: guests of east with disks of any kind, mirrored to west, and looked at there."""

import json
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labtest import CROSSOVER, USERS

HERE = Path(__file__).resolve().parent
MIB = 1 << 20

# Storages the lab does not come with: ids with everything PVE allows in one, ids whose end looks like the end of an
# image's name, a namespace on the source too, and an external cluster as PVE 8 leaves it, without a file of its own.
# The last two cannot be used: the pool is gone, the user is unknown.
EXTRA = """\

rbd: a-b_c.d
\tpool hddpool
\tcontent images

rbd: xx
\tpool hddpool
\tcontent images

rbd: data-xx
\tpool ssdpool
\tcontent images

rbd: ns-src
\tpool ssdpool
\tcontent images
\tnamespace nsa

rbd: ext-8
\tpool hddpool
\tcontent images
\tmonhost {monitor}
\tusername backup

rbd: no-pool
\tpool gone
\tcontent images

rbd: no-user
\tpool hddpool
\tcontent images
\tmonhost {monitor}
\tusername nobody

"""

EXPORTS = 'set -e -o pipefail; for i; do rbd export --no-progress "$i" - | sha256sum; done'


class Kinds:
    def __init__(self, lab):
        self.lab = lab
        # A lab that was up before may have guests already.
        known = json.loads(lab.run("pve01", "cat", "/etc/pve/.vmlist")).get("ids", {})
        self._last = max([100, *map(int, known)])

    def prepare(self):
        for node, monitor in (("pve01", "10.77.1.100"), ("pve04", "10.77.2.100")):
            if "no-user" in self.lab.run(node, "cat", "/etc/pve/storage.cfg"):
                continue
            self.lab("exec", node, "sh", "-c", "cat >> /etc/pve/storage.cfg && cd /etc/pve/priv/ceph && "
                     "for id in a-b_c.d xx data-xx ns-src no-pool no-user; do cat ceph-ssd.keyring > $id.keyring; done && "
                     "cat ext.keyring > ext-8.keyring", input=EXTRA.format(monitor=monitor))
        if "nsa" not in self.lab.run("pve01", "rbd", "namespace", "ls", "ssdpool"):
            self.lab.run("pve01", "rbd", "namespace", "create", "ssdpool/nsa")

    def vmid(self):
        """A VMID no guest has had; its replica is 9000 more."""
        self._last += 1
        return self._last

    def images(self, *changes, node="pve01"):
        """Changes to images, in the words of node_images."""
        self.lab("exec", node, "/usr/bin/python3", str(HERE / "node_images.py"), input=json.dumps(changes))

    def write(self, node, path, text):
        self.lab("exec", node, "sh", "-c", 'cat > "$0"', path, input=text)

    def configure(self, vmid, *lines, vmgenid=None):
        """Writes a guest's configuration."""
        text = "\n".join(["memory: 64", f"name: kind-{vmid}", f"vmgenid: {vmgenid or uuid.uuid4()}", *lines, ""])
        self.write("pve01", f"/etc/pve/qemu-server/{vmid}.conf", text)

    def config(self, vmid):
        """The lines of a replica's configuration."""
        return self.lab.run("pve04", "cat", f"/etc/pve/qemu-server/{target(vmid)}.conf").splitlines()

    def attempt(self, *vmids, options=(), **how):
        """A run for these guests: its exit status and their reports."""
        pairs = ",".join(f"{vmid}:{target(vmid)}" for vmid in vmids)
        return self.attempt_words(f"--vmid={pairs}", *options, **how)

    def attempt_words(self, *words, pool="ceph-ssd", users=USERS):
        done = self.lab("exec", "pve01", str(CROSSOVER), "mirror", *words, "--destination=pve04", f"--pool={pool}",
                        *users, "--json", check=False)
        assert done.stdout.startswith("{"), f"{done.returncode}: {done.stderr}"
        return done.returncode, json.loads(done.stdout)["guests"]

    def mirror(self, *vmids, **how):
        """A run that has to succeed, with replicas that hold what the source held at the point's moment. The report of
        the guest, or of each of them."""
        status, guests = self.attempt(*vmids, **how)
        assert status == 0, [guest["error"] for guest in guests]
        self.check_content(guests)
        return guests[0] if len(vmids) == 1 else guests

    def refused(self, vmid, **how):
        """The error of a run that has to end as a conflict."""
        status, guests = self.attempt(vmid, **how)
        assert (status, guests[0]["outcome"]) == (3, "conflict"), guests[0]
        return guests[0]["error"]

    def check_content(self, guests):
        """What `rbd export` reads of each disk's snapshot is the same on both sides."""
        pairs = [(f"{disk['source_image']}@{guest['recovery_point']}", f"{disk['replica_image']}@{guest['recovery_point']}")
                 for guest in guests for disk in guest["disks"]]
        if not pairs:
            return
        with ThreadPoolExecutor() as pool:
            sums = list(pool.map(self.checksums, ("pve01", "pve04"), zip(*pairs)))
        assert dict(zip(pairs, sums[0])) == dict(zip(pairs, sums[1]))

    def checksums(self, node, images):
        sums = self.lab.run(node, "bash", "-c", EXPORTS, "exports", *images).split()[::2]
        assert len(sums) == len(images)
        return sums

    def info(self, image, node="pve04"):
        return json.loads(self.lab.run(node, "rbd", "info", "--format", "json", image))

    def metadata(self, image, node="pve04"):
        return json.loads(self.lab.run(node, "rbd", "image-meta", "list", "--format", "json", image))

    def snapshots(self, image, node="pve04"):
        return [entry["name"] for entry in
                json.loads(self.lab.run(node, "rbd", "snap", "ls", "--format", "json", image))]

    def starts(self, vmid, node="pve04"):
        """Starts the VM, which opens every volume its configuration names, and stops it."""
        self.lab.run(node, "qm", "start", str(vmid))
        self.lab.run(node, "qm", "stop", str(vmid))


def target(vmid):
    return 9000 + vmid


def create(image, size, **options):
    return ["create", image, size, options]


def write(image, offset, length):
    return ["write", image, offset, length]


def disks(guest):
    return {disk["key"]: disk for disk in guest["disks"]}


def fulls(guest):
    """Which disks were sent in full."""
    return {disk["key"] for disk in guest["disks"] if disk["full"]}
