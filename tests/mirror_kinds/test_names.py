"""Names of images that look like something else."""

from kinds import MIB, create, disks, fulls, target, write


def guest(kinds, volumes):
    """A guest whose disks are these {key: (storage, image)}; its images are made, each with content of its own."""
    vmid = kinds.vmid()
    images = {key: (storage, image.format(vmid)) for key, (storage, image) in volumes.items()}
    pools = {"ceph-ssd": "ssdpool", "data-xx": "ssdpool", "xx": "hddpool", "ceph_hdd.x": "hddpool", "a-b_c.d": "hddpool"}
    for storage, image in images.values():
        kinds.images(create(f"{pools[storage]}/{image}", 5 * MIB), write(f"{pools[storage]}/{image}", 0, MIB))
    kinds.configure(vmid, *[f"{key}: {storage}:{image}" for key, (storage, image) in images.items()])
    return vmid, {key: f"{pools[storage]}/{image}" for key, (storage, image) in images.items()}


def test_odd_names(kinds):
    """Equal names on two storages, another guest's number, something behind the disk's number, no disk's number at all."""
    vmid, images = guest(kinds, {
        "scsi0": ("ceph-ssd", "vm-{}-disk-0"), "scsi1": ("ceph_hdd.x", "vm-{}-disk-0"),
        "virtio0": ("ceph-ssd", "vm-8{}-disk-0"), "virtio1": ("ceph-ssd", "vm-{}-disk-0-data"),
        "sata0": ("ceph-ssd", "base-{0}-{0}.raw"), "efidisk0": ("ceph-ssd", "vm-{0}-x-{0}-disk-1")})
    replica = target(vmid)
    expected = {"scsi0": f"vm-{replica}-disk-0-ceph-ssd", "scsi1": f"vm-{replica}-disk-0-ceph_hdd.x",
                "virtio0": f"vm-{replica}-disk-0-ceph-ssd", "virtio1": f"vm-{replica}-disk-0-data-ceph-ssd",
                "sata0": f"base-{replica}-{vmid}.raw-ceph-ssd", "efidisk0": f"vm-{replica}-x-{vmid}-disk-1-ceph-ssd"}

    # The foreign disk's replica would have scsi0's name: nothing is guessed, nothing is made.
    error = kinds.refused(vmid)
    assert f"vm-{replica}-disk-0-ceph-ssd" in error and "would both become" in error
    assert kinds.lab("exec", "pve04", "qm", "config", str(replica), check=False).returncode != 0

    kinds.lab.run("pve01", "rbd", "rename", images["virtio0"], f"{images['virtio0']}7")
    kinds.lab.run("pve01", "sed", "-i", f"s/vm-8{vmid}-disk-0/&7/; $ a bios: ovmf", f"/etc/pve/qemu-server/{vmid}.conf")
    images["virtio0"] += "7"
    expected["virtio0"] = f"vm-{replica}-disk-07-ceph-ssd"
    first = disks(kinds.mirror(vmid))
    assert {key: disk["replica_image"] for key, disk in first.items()} == {
        key: f"ssdpool/{name}" for key, name in expected.items()}
    kinds.images(*[write(image, MIB, 1000) for image in images.values()])
    assert fulls(kinds.mirror(vmid)) == set()
    kinds.starts(replica)


def test_names_that_meet(kinds):
    """"disk-0-data" on "xx" and "disk-0" on "data-xx" would become one image: that is said, and nothing is made."""
    vmid, _ = guest(kinds, {"scsi0": ("xx", "vm-{}-disk-0-data"), "scsi1": ("data-xx", "vm-{}-disk-0")})
    name = f"vm-{target(vmid)}-disk-0-data-xx"
    assert name in kinds.refused(vmid)
    assert name not in kinds.lab.run("pve04", "rbd", "ls", "ssdpool")


def test_neighbours(kinds):
    """Numbers and storages that begin or end like others' are others: 1 and 11, xx and data-xx."""
    first, images = guest(kinds, {"scsi0": ("ceph-ssd", "vm-{}-disk-1"), "scsi1": ("ceph-ssd", "vm-{}-disk-11"),
                                  "scsi2": ("xx", "vm-{}-disk-1"), "scsi3": ("data-xx", "vm-{}-disk-1-xx")})
    second, _ = guest(kinds, {"scsi0": ("ceph-ssd", f"vm-{first}1-disk-1")})
    one, two = kinds.mirror(first, second)
    replicas = [disk["replica_image"] for disk in one["disks"] + two["disks"]]
    assert len(set(replicas)) == 5
    kinds.images(write(images["scsi1"], 0, 512))
    one, two = kinds.mirror(first, second)
    assert not fulls(one) | fulls(two)
