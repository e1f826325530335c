"""Images of every layout: a replica has its source's, and both runs' content."""

import contextlib
import json

from kinds import MIB, create, disks, fulls, write


def test_sizes_and_objects(kinds):
    """Sizes that are no multiple of an object or even of a sector, and other sizes of objects."""
    vmid = kinds.vmid()
    layouts = {
        "scsi0": (10 * MIB + 1536, {}),
        "scsi1": (4 * MIB - 7, {}),
        "scsi2": (528 << 10, {}),
        "scsi3": (MIB, {"order": 12}),
        "scsi4": (20 * MIB + 512, {"order": 23}),
        "virtio0": (16 * MIB, {"stripe_unit": 64 << 10, "stripe_count": 3}),
        "virtio1": (9 * MIB + 512, {"stripe_unit": 16 << 10, "stripe_count": 4, "order": 20}),
    }
    images = {key: f"ssdpool/vm-{vmid}-disk-{number}" for number, key in enumerate(layouts)}
    kinds.images(*[change for key, (size, options) in layouts.items()
                   for change in (create(images[key], size, **options), write(images[key], 0, 4096),
                                  write(images[key], size - 5000, 5000), write(images[key], size // 2, 100 << 10))])
    kinds.configure(vmid, *[f"{key}: ceph-ssd:{image.split('/')[1]}" for key, image in images.items()])
    first = kinds.mirror(vmid)
    assert fulls(first) == set(layouts)
    for key, disk in disks(first).items():
        here, there = kinds.info(images[key], "pve01"), kinds.info(disk["replica_image"])
        for what in ("size", "order", "stripe_unit", "stripe_count"):
            assert here.get(what) == there.get(what), (key, what)

    kinds.images(*[change for key, (size, _) in layouts.items()
                   for change in (write(images[key], size - 1000, 1000), write(images[key], 3000, 50 << 10),
                                  ["discard", images[key], size // 2, 64 << 10])])
    assert fulls(kinds.mirror(vmid)) == set()


@contextlib.contextmanager
def journals_writable(kinds):
    """What docs/access.md adds to the source user's rights for images with journaling."""
    caps = json.loads(kinds.lab.run("pve01", "ceph", "auth", "get", "client.crossover", "--format=json"))[0]["caps"]

    def give(osd):
        kinds.lab.run("pve01", "ceph", "auth", "caps", "client.crossover", "mon", caps["mon"], "osd", osd)
    give(caps["osd"] + ", allow rwx pool=ssdpool object_prefix journal")
    try:
        yield
    finally:
        give(caps["osd"])


def test_features(kinds):
    """A replica has its source's own features; journaling, and where the data lies, are not among them. exclusive-lock
    is always there. Object maps are true to what was written."""
    vmid = kinds.vmid()
    layouts = {
        "scsi0": {"features": 61},
        "scsi1": {"features": 1},
        "scsi2": {"features": 61 | 64},
        "scsi3": {"features": 61, "data_pool": "hddpool"},
        "scsi4": {"features": 13},
    }
    images = {key: f"ssdpool/vm-{vmid}-disk-{number}" for number, key in enumerate(layouts)}
    kinds.images(*[change for key, image in images.items()
                   for change in (create(image, 17 * MIB, **layouts[key]), write(image, 3 * MIB, 2 * MIB))])
    kinds.configure(vmid, *[f"{key}: ceph-ssd:{image.split('/')[1]}" for key, image in images.items()])
    with journals_writable(kinds):
        kinds.mirror(vmid)
        kinds.images(*[change for image in images.values()
                       for change in (["discard", image, 4 * MIB, 4 * MIB], write(image, 12 * MIB, 5 * MIB))])
        second = kinds.mirror(vmid)
    assert fulls(second) == set()
    for key, disk in disks(second).items():
        own = set(kinds.info(images[key], "pve01")["features"])
        info = kinds.info(disk["replica_image"])
        assert set(info["features"]) == own - {"journaling", "data-pool"} | {"exclusive-lock"}, key
        assert not info["flags"] and "data_pool" not in info
        if "object-map" in info["features"]:
            for name in (disk["replica_image"], f"{disk['replica_image']}@{second['recovery_point']}"):
                kinds.lab.run("pve04", "rbd", "object-map", "check", "--no-progress", name)
                assert not kinds.info(name)["flags"], name


def test_random_content(kinds):
    """An image without a zero in it, as an encrypted one is: all of it is sent once, then only what changed."""
    vmid = kinds.vmid()
    image = f"ssdpool/vm-{vmid}-disk-0"
    kinds.images(create(image, 24 * MIB), write(image, 0, 24 * MIB))
    kinds.configure(vmid, f"scsi0: ceph-ssd:vm-{vmid}-disk-0")
    assert disks(kinds.mirror(vmid))["scsi0"]["stream_bytes"] > 24 * MIB
    kinds.images(write(image, 16 * MIB - 512, 1024), write(image, 0, 512))
    assert disks(kinds.mirror(vmid))["scsi0"]["stream_bytes"] < 16 << 10


def test_odd_metadata(kinds):
    """An administrator's own metadata, on both sides, is neither read nor changed."""
    vmid = kinds.vmid()
    image = f"ssdpool/vm-{vmid}-disk-0"
    odd = {"conf_rbd_cache": "false", "ключ": "значение", "quoted": "{\\\"}\n\t", "crossover": "x", "crossover.": "y",
           "crossover.note": "{", "empty": "", "-option": "--value", "long": "z" * 30000}
    kinds.images(create(image, 8 * MIB), write(image, 0, MIB), *[["metadata", image, *pair] for pair in odd.items()])
    kinds.configure(vmid, f"scsi0: ceph-ssd:vm-{vmid}-disk-0")
    replica = disks(kinds.mirror(vmid))["scsi0"]["replica_image"]
    assert not odd.keys() & kinds.metadata(replica).keys()
    kinds.images(*[["metadata", replica, *pair] for pair in odd.items()], node="pve04")
    kinds.images(write(image, 2 * MIB, MIB))
    assert fulls(kinds.mirror(vmid)) == set()
    assert odd.items() <= kinds.metadata(image, "pve01").items()
    assert odd.items() <= kinds.metadata(replica).items()


def test_one_image_that_cannot_be_looked_at(kinds):
    """`rbd` prints keys with quotation marks as something that is no JSON. The guest whose image has one fails, and no
    other."""
    broken, whole = kinds.vmid(), kinds.vmid()
    for vmid in (broken, whole):
        image = f"ssdpool/vm-{vmid}-disk-0"
        kinds.images(create(image, 4 * MIB), write(image, 0, 4096))
        kinds.configure(vmid, f"scsi0: ceph-ssd:vm-{vmid}-disk-0")
    replica = disks(kinds.mirror(broken, whole)[0])["scsi0"]["replica_image"]
    kinds.images(["metadata", replica, 'a "quoted" key', "x"], node="pve04")
    status, guests = kinds.attempt(broken, whole, options=["--transport=rbd"])
    assert status == 1 and [guest["outcome"] for guest in guests] == ["failed", "ok"]
    assert replica in guests[0]["error"] and not guests[0]["recovery_point"]
    kinds.check_content(guests[1:])
    # The agent asks librbd, which needs no words for it.
    kinds.mirror(broken, whole, options=["--transport=agent"])
