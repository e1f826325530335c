"""Every kind of RBD storage, as source and as target."""

import pytest
from kinds import MIB, create, disks, fulls, target, write

# Storage on east: where its images are.
SOURCES = {"ceph-ssd": "ssdpool", "a-b_c.d": "hddpool", "ns-src": "ssdpool/nsa", "ext": "hddpool", "ext-8": "hddpool",
           "kr": "ssdpool"}
# Storage on west: where its images are, and where their data is if that is somewhere else.
TARGETS = {"ec": ("ecmeta", "ecdata"), "ns": ("ssdpool/nsa", None), "ns-src": ("ssdpool/nsa", None),
           "ext": ("hddpool", None), "ext-8": ("hddpool", None), "a-b_c.d": ("hddpool", None), "kr": ("ssdpool", None)}


def guest_on(kinds, *storages):
    """A guest with a disk on each of these storages; its VMID and its images."""
    vmid = kinds.vmid()
    images = [f"{SOURCES[storage]}/vm-{vmid}-disk-{number}" for number, storage in enumerate(storages)]
    kinds.images(*[change for image in images for change in (create(image, 9 * MIB), write(image, MIB, 5 * MIB))])
    kinds.configure(vmid, *[f"scsi{number}: {storage}:vm-{vmid}-disk-{number},discard=on"
                            for number, storage in enumerate(storages)])
    return vmid, images


def test_sources(kinds):
    """krbd storages too; here that is the mapping only: what is in use through a kernel is not tried."""
    storages = list(SOURCES)
    vmid, images = guest_on(kinds, *storages)
    first = disks(kinds.mirror(vmid))
    assert [first[f"scsi{number}"]["source_image"] for number in range(len(images))] == images
    assert [first[f"scsi{number}"]["replica_image"] for number in range(len(images))] == [
        f"ssdpool/vm-{target(vmid)}-disk-{number}-{storage}" for number, storage in enumerate(storages)]
    kinds.images(*[write(image, 4 * MIB - 700, 1400) for image in images])
    assert fulls(kinds.mirror(vmid)) == set()
    kinds.starts(target(vmid))


@pytest.mark.parametrize("storage", TARGETS)
def test_target(kinds, storage):
    where, data_pool = TARGETS[storage]
    vmid, [image] = guest_on(kinds, "ceph-ssd")
    replica = disks(kinds.mirror(vmid, pool=storage))["scsi0"]["replica_image"]
    assert replica == f"{where}/vm-{target(vmid)}-disk-0-ceph-ssd"
    assert kinds.info(replica).get("data_pool") == data_pool
    kinds.images(write(image, 4 * MIB - 700, 1400), ["discard", image, 2 * MIB, MIB])
    assert fulls(kinds.mirror(vmid, pool=storage)) == set()
    volume = f"{storage}:vm-{target(vmid)}-disk-0-ceph-ssd"
    assert f"scsi0: {volume},discard=on" in kinds.config(vmid)
    if storage == "kr":
        # A lab has no kernel client: the volume is what PVE would map, and the same image without krbd starts.
        assert kinds.lab.run("pve04", "pvesm", "path", volume).strip().endswith(f"/{replica}")
        assert fulls(kinds.mirror(vmid)) == set()
    kinds.starts(target(vmid))


def test_another_pool(kinds):
    """A run to another storage of the same cluster makes new images there; those of the old one stay as they were."""
    vmid, [image] = guest_on(kinds, "ceph-ssd")
    old = disks(kinds.mirror(vmid))["scsi0"]["replica_image"]
    before = kinds.snapshots(old)
    guest = kinds.mirror(vmid, pool="ssd-b")
    assert fulls(guest) == {"scsi0"} and disks(guest)["scsi0"]["replica_image"].startswith("other/")
    assert kinds.snapshots(old) == before
    assert guest["former_images"] == [{"image": old, "points": 1}]
    kinds.images(write(image, 0, 512))
    assert fulls(kinds.mirror(vmid, pool="ssd-b")) == set()


def test_unusable_sources(kinds):
    """A guest on a storage nobody can use fails; the others of the run do not notice."""
    vmid, _ = guest_on(kinds, "ceph-ssd")
    lost = {kinds.vmid(): how for how in (("no-pool", "not_found"), ("no-user", "authentication"))}
    for other, (storage, _) in lost.items():
        kinds.configure(other, f"scsi0: {storage}:vm-{other}-disk-0")
    status, guests = kinds.attempt(*lost, vmid)
    assert status == 1
    of = {guest["vmid"]: guest for guest in guests}
    assert of.keys() == {*lost, vmid}
    for other, (_, code) in lost.items():
        assert (of[other]["outcome"], of[other]["error_code"]) == ("failed", code)
        assert f"vm-{other}-disk-0" in of[other]["error"]
    assert of[vmid]["outcome"] == "ok"
    kinds.check_content([of[vmid]])
