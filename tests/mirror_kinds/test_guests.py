"""Kinds of guests: templates, linked clones, guests without disks, running ones."""

from kinds import MIB, create, disks, fulls, target, write


def test_template_and_linked_clone(kinds):
    """A template that is named is mirrored as one; `all` leaves it out. A linked clone's replica holds all it reads, its
    parent's part too, and needs no parent."""
    template, clone = kinds.vmid(), kinds.vmid()
    image = f"ssdpool/vm-{template}-disk-0"
    kinds.images(create(image, 9 * MIB), write(image, 0, 5 * MIB))
    kinds.configure(template, f"scsi0: ceph-ssd:vm-{template}-disk-0", f"tags: kind{template}")
    kinds.lab.run("pve01", "qm", "template", str(template))
    kinds.lab.run("pve01", "qm", "clone", str(template), str(clone))
    image = f"ssdpool/vm-{clone}-disk-0"
    assert kinds.info(image, "pve01")["parent"]["image"] == f"base-{template}-disk-0"
    kinds.images(write(image, 6 * MIB, MIB), ["discard", image, 0, 65536])

    status, swept = kinds.attempt_words("--vmid=all", "--prefixid=9", f"--tag=kind{template}")
    assert (status, [guest["vmid"] for guest in swept]) == (0, [clone])
    kinds.check_content(swept)
    replica = swept[0]["disks"][0]["replica_image"]
    assert replica == f"ssdpool/vm-9{clone}-disk-0-ceph-ssd" and "parent" not in kinds.info(replica)
    kinds.starts(int(f"9{clone}"))

    kinds.mirror(template)
    assert "template: 1" in kinds.config(template)
    assert f"scsi0: ceph-ssd:base-{target(template)}-disk-0-ceph-ssd" in kinds.config(template)
    assert fulls(kinds.mirror(template)) == set()


def test_flattened_clone(kinds):
    """A clone that loses its parent between two runs reads the same, and so does its replica."""
    parent, vmid = kinds.vmid(), kinds.vmid()
    image, base = f"ssdpool/vm-{vmid}-disk-0", f"ssdpool/vm-{parent}-disk-0"
    kinds.images(create(base, 9 * MIB), write(base, 0, 9 * MIB), ["snapshot", base, "s"])
    kinds.lab.run("pve01", "rbd", "snap", "protect", f"{base}@s")
    kinds.lab.run("pve01", "rbd", "clone", f"{base}@s", image)
    kinds.configure(vmid, f"scsi0: ceph-ssd:vm-{vmid}-disk-0")
    kinds.mirror(vmid)
    kinds.images(write(image, 4 * MIB, 512), ["discard", image, 0, 4 * MIB])
    kinds.mirror(vmid)
    kinds.lab.run("pve01", "rbd", "flatten", "--no-progress", image)
    kinds.images(["discard", image, 4 * MIB, 4 * MIB])
    assert fulls(kinds.mirror(vmid)) == set()


def test_no_disks(kinds):
    """Only the configuration is mirrored, again and again; the first disk it gets later is sent in full."""
    vmid, genid = kinds.vmid(), "0f4e3f8d-1111-4222-8333-000000000001"
    for cores in (1, 2):
        kinds.configure(vmid, "ide2: none,media=cdrom", f"cores: {cores}", vmgenid=genid)
        guest = kinds.mirror(vmid)
        assert not guest["disks"] and not guest["recovery_point"] and any("no disk" in text for text in guest["warnings"])
        assert f"cores: {cores}" in kinds.config(vmid)
    kinds.starts(target(vmid))
    image = f"ssdpool/vm-{vmid}-disk-0"
    kinds.images(create(image, MIB), write(image, 0, MIB))
    kinds.configure(vmid, f"scsi0: ceph-ssd:vm-{vmid}-disk-0", vmgenid=genid)
    assert "--overwrite" in kinds.refused(vmid)
    assert fulls(kinds.mirror(vmid, options=["--overwrite"])) == {"scsi0"}
    assert fulls(kinds.mirror(vmid)) == set()


def test_running_and_stopped(kinds):
    """A running guest without an agent and a stopped one in one run; the images of the first are open meanwhile."""
    running, stopped = kinds.vmid(), kinds.vmid()
    for vmid in (running, stopped):
        images = [f"ssdpool/vm-{vmid}-disk-0", f"hddpool/vm-{vmid}-disk-0"]
        kinds.images(*[change for image in images for change in (create(image, 8 * MIB), write(image, 5 * MIB, MIB))])
        kinds.configure(vmid, f"scsi0: ceph-ssd:vm-{vmid}-disk-0", f"virtio1: ceph_hdd.x:vm-{vmid}-disk-0,iothread=1")
    kinds.lab.run("pve01", "qm", "start", str(running))
    try:
        status, guests = kinds.attempt(running, stopped)
        assert status == 1 and "--online" in guests[0]["error"] and guests[1]["outcome"] == "ok"
        for expected in ({"scsi0", "virtio1"}, set()):
            guests = kinds.mirror(running, stopped, options=["--online"])
            assert [guest["running"] for guest in guests] == [True, False]
            assert fulls(guests[0]) == expected and fulls(guests[1]) == set()
            assert guests[0]["consistency"].startswith("paused: ") and guests[1]["consistency"] == "stopped"
            kinds.images(write(f"ssdpool/vm-{running}-disk-0", 6 * MIB, MIB))
    finally:
        kinds.lab.run("pve01", "qm", "stop", str(running))
    kinds.starts(target(running))
