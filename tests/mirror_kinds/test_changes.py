"""Guests whose disks are not the same in the next run."""

from kinds import MIB, create, disks, fulls, target, write


def guest(kinds, *sizes):
    """A guest with disks of these sizes on ceph-ssd; its VMID and images."""
    vmid = kinds.vmid()
    images = [f"ssdpool/vm-{vmid}-disk-{number}" for number in range(len(sizes))]
    kinds.images(*[change for image, size in zip(images, sizes) for change in (create(image, size), write(image, 0, size))])
    attach(kinds, vmid, range(len(sizes)), vmid)
    return vmid, images


def attach(kinds, vmid, numbers, genid):
    kinds.configure(vmid, *[f"scsi{number}: ceph-ssd:vm-{vmid}-disk-{number}" for number in numbers],
                    vmgenid=f"0f4e3f8d-1111-4222-8333-{genid:012}")


KEEP = ["--keeplocal=1d", "--keepremote=1d"]


def test_resized(kinds):
    """One that grew and was written behind its old end; one that shrank; one that shrank and grew again between two
    runs, where what was cut off must not come back; one that grew by less than an object."""
    vmid, images = guest(kinds, 6 * MIB, 14 * MIB, 14 * MIB, 4 * MIB - 512)
    kinds.mirror(vmid)
    kinds.images(["resize", images[0], 13 * MIB + 512], write(images[0], 12 * MIB, MIB + 512),
                 ["resize", images[1], 5 * MIB + 700], ["resize", images[2], 3 * MIB], ["resize", images[2], 14 * MIB],
                 ["resize", images[3], 4 * MIB + 512])
    second = kinds.mirror(vmid)
    assert fulls(second) == set()
    assert [disk["size_bytes"] for disk in second["disks"]] == [13 * MIB + 512, 5 * MIB + 700, 14 * MIB, 4 * MIB + 512]
    kinds.images(["resize", images[0], 1 * MIB], ["resize", images[1], 20 * MIB], write(images[1], 19 * MIB, MIB))
    assert fulls(kinds.mirror(vmid)) == set()


def test_disk_added(kinds):
    """A new disk before and one behind the others: they are sent in full, the others are not."""
    vmid, images = guest(kinds, MIB, MIB, MIB, MIB)
    attach(kinds, vmid, (1, 2), vmid)
    first = kinds.mirror(vmid, options=KEEP)
    attach(kinds, vmid, (0, 1, 2, 3), vmid)
    kinds.images(write(images[1], 0, 512))
    second = kinds.mirror(vmid, options=KEEP)
    assert fulls(second) == {"scsi0", "scsi3"}
    replica = disks(second)["scsi1"]["replica_image"]
    assert kinds.snapshots(replica) == [first["recovery_point"], second["recovery_point"]]
    assert fulls(kinds.mirror(vmid, options=KEEP)) == set()


def test_disk_removed(kinds):
    """The disk that goes is the first one, on whose replica the points' configurations are: the points of the others
    are still points. Its replica stays, with its points; it comes back to where it was."""
    vmid, images = guest(kinds, MIB, MIB, MIB)
    first = kinds.mirror(vmid, options=KEEP)
    second = kinds.mirror(vmid, options=KEEP)
    points = [first["recovery_point"], second["recovery_point"]]
    replicas = {key: disk["replica_image"] for key, disk in disks(first).items()}

    attach(kinds, vmid, (1, 2), vmid)
    kinds.images(write(images[1], 0, 512))
    third = kinds.mirror(vmid, options=KEEP)
    assert fulls(third) == set() and {disk["base"] for disk in third["disks"]} == {second["recovery_point"]}
    assert kinds.snapshots(replicas["scsi0"]) == points
    assert kinds.snapshots(replicas["scsi1"]) == [*points, third["recovery_point"]]
    assert not [line for line in kinds.config(vmid) if line.startswith("scsi0:")]

    attach(kinds, vmid, (0, 1, 2), vmid)
    kinds.images(write(images[0], 0, 512))
    fourth = kinds.mirror(vmid, options=KEEP)
    assert fulls(fourth) == set()
    assert {key: disk["base"] for key, disk in disks(fourth).items()} == {
        "scsi0": second["recovery_point"], "scsi1": third["recovery_point"], "scsi2": third["recovery_point"]}
    kinds.starts(target(vmid))


def test_disk_made_anew(kinds):
    """Another image under the old name is another disk: its predecessor's replica is not written over."""
    vmid, [image] = guest(kinds, MIB)
    first = kinds.mirror(vmid)
    replica = disks(first)["scsi0"]["replica_image"]
    kinds.lab.run("pve01", "rbd", "snap", "purge", "--no-progress", image)
    kinds.images(["remove", image], create(image, MIB), write(image, 0, 512))
    before = kinds.checksums("pve04", [replica])
    assert "another source" in kinds.refused(vmid)
    assert kinds.checksums("pve04", [replica]) == before and kinds.snapshots(replica) == [first["recovery_point"]]


def test_pve_snapshots(kinds):
    """PVE's own snapshots, made and removed and rolled back to between runs, are neither mirrored nor touched."""
    vmid, images = guest(kinds, 6 * MIB, 2 * MIB)
    kinds.lab.run("pve01", "qm", "snapshot", str(vmid), "before")
    kinds.images(write(images[0], MIB, MIB))
    kinds.mirror(vmid)
    lines = kinds.config(vmid)
    assert not [line for line in lines if line.startswith(("[", "parent:", "snaptime:"))]
    kinds.lab.run("pve01", "qm", "snapshot", str(vmid), "between")
    kinds.lab.run("pve01", "qm", "delsnapshot", str(vmid), "before")
    kinds.images(write(images[0], 5 * MIB, 512), write(images[1], 0, MIB))
    kinds.lab.run("pve01", "qm", "rollback", str(vmid), "between")
    second = kinds.mirror(vmid)
    assert fulls(second) == set()
    assert kinds.snapshots(images[0], "pve01") == ["between", second["recovery_point"]]
    assert kinds.snapshots(disks(second)["scsi0"]["replica_image"]) == [second["recovery_point"]]
    kinds.starts(target(vmid))


def test_replica_that_was_snapshotted_and_edited(kinds):
    """What Proxmox VE snapshotted on the destination stays as long as its RBD snapshots do; what somebody changed there is
    overwritten, and named once."""
    vmid, _ = guest(kinds, MIB, MIB)
    kinds.mirror(vmid)
    replica = str(target(vmid))
    kinds.lab.run("pve04", "qm", "snapshot", replica, "drill")
    snapshotted = sorted(kinds.config(vmid))
    assert "[drill]" in snapshotted and "parent: drill" in snapshotted
    second = kinds.mirror(vmid)
    assert second["warnings"] == [] and sorted(kinds.config(vmid)) == snapshotted
    assert all("drill" in kinds.snapshots(disk["replica_image"]) for disk in second["disks"])

    kinds.lab.run("pve04", "qm", "set", replica, "--memory", "128", "--onboot", "1")
    [warning] = kinds.mirror(vmid)["warnings"]
    assert "changed by hand" in warning and "memory: 128 (becomes 64)" in warning and "onboot: 1 (becomes 0)" in warning
    assert sorted(kinds.config(vmid)) == snapshotted

    kinds.lab.run("pve04", "qm", "delsnapshot", replica, "drill")
    assert kinds.mirror(vmid)["warnings"] == []
    assert not [line for line in kinds.config(vmid) if line.startswith(("[", "parent"))]
    kinds.starts(target(vmid))
