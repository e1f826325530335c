"""Metadata goes with an image that is copied: a record counts only on the image it was written for."""

from kinds import MIB, create, disks, fulls, target, write


def guest(kinds, make=True):
    vmid = kinds.vmid()
    image = f"ssdpool/vm-{vmid}-disk-0"
    if make:
        kinds.images(create(image, 6 * MIB), write(image, 0, 3 * MIB))
    kinds.configure(vmid, f"scsi0: ceph-ssd:vm-{vmid}-disk-0")
    return vmid, image


def test_copied_source(kinds):
    """A copy of a mirrored disk is another guest's disk: it is a guest of its own, and so is the first one."""
    first, image = guest(kinds)
    kinds.mirror(first)
    second, copy = guest(kinds, make=False)
    kinds.images(["copy", image, copy.split("/")[1]])
    assert any(key.startswith("crossover.source.") for key in kinds.metadata(copy, "pve01"))
    assert fulls(kinds.mirror(second)) == {"scsi0"}
    kinds.images(write(image, 0, 512), write(copy, 4 * MIB, MIB))
    assert [fulls(each) for each in kinds.mirror(first, second)] == [set(), set()]


def test_copy_with_snapshots(kinds):
    """A replica that was brought back with `rbd export --export-format 2` has snapshots and records that are the
    replica's. As a guest's disk on the source it is a disk like any other."""
    first, _ = guest(kinds)
    replica = disks(kinds.mirror(first))["scsi0"]["replica_image"]
    second, copy = guest(kinds, make=False)
    kinds.lab.run("pve04", "rbd", "export", "--no-progress", "--export-format", "2", replica, "/tmp/exported")
    kinds.lab.run("pve01", "scp", "-q", "pve04:/tmp/exported", "/tmp/exported")
    kinds.lab.run("pve01", "rbd", "import", "--no-progress", "--export-format", "2", "/tmp/exported", copy)
    assert "crossover.replica" in kinds.metadata(copy, "pve01") and kinds.snapshots(copy, "pve01")
    assert fulls(kinds.mirror(second)) == {"scsi0"}
    kinds.images(write(copy, 4 * MIB, MIB))
    assert fulls(kinds.mirror(second)) == set()


def test_copied_replica_in_the_way(kinds):
    """A copy of a replica has the name another guest's replica is to get: it is not written to."""
    first, _ = guest(kinds)
    replica = disks(kinds.mirror(first))["scsi0"]["replica_image"]
    second, _ = guest(kinds)
    name = f"vm-{target(second)}-disk-0-ceph-ssd"
    kinds.images(["copy", replica, name], node="pve04")
    before = kinds.checksums("pve04", [f"ssdpool/{name}"]), kinds.metadata(f"ssdpool/{name}")
    assert "no record" in kinds.refused(second)
    assert (kinds.checksums("pve04", [f"ssdpool/{name}"]), kinds.metadata(f"ssdpool/{name}")) == before
    assert kinds.lab("exec", "pve04", "qm", "config", str(target(second)), check=False).returncode != 0


def test_replica_replaced_by_its_copy(kinds):
    """The copy reads the same and says it is the replica, but has no recovery point: it is not the replica."""
    vmid, image = guest(kinds)
    replica = disks(kinds.mirror(vmid))["scsi0"]["replica_image"]
    name = replica.split("/")[1]
    kinds.images(["rename", replica, f"{name}.old"], ["copy", f"{replica}.old", name], node="pve04")
    kinds.images(write(image, 0, 512))
    before = kinds.checksums("pve04", [replica])
    kinds.refused(vmid)
    assert kinds.checksums("pve04", [replica]) == before and kinds.snapshots(replica) == []
    # The original under its name again goes on where it was.
    kinds.images(["remove", replica], ["rename", f"{replica}.old", name], node="pve04")
    assert fulls(kinds.mirror(vmid)) == set()


def test_copied_replica_of_another_guest(kinds):
    """A guest of the destination whose disk is a copy of a replica is no replica, whatever the copy's record says."""
    vmid, _ = guest(kinds)
    replica = disks(kinds.mirror(vmid))["scsi0"]["replica_image"]
    other, _ = guest(kinds)
    name = f"vm-{target(other)}-disk-0"
    kinds.images(["copy", replica, name], node="pve04")
    config = f"memory: 64\nname: own\nscsi0: ceph-ssd:{name}\nvmgenid: 0f4e3f8d-2222-4222-8333-000000000001\n"
    kinds.write("pve04", f"/etc/pve/qemu-server/{target(other)}.conf", config)
    assert "another guest" in kinds.refused(other)
    assert "another guest" in kinds.refused(other, options=["--overwrite"])
    assert "\n".join(kinds.config(other)) + "\n" == config
