"""--fast-diff: changes are looked for where the object maps have some, and everywhere once those may not tell of all."""

import pytest
from mirrortest import EAST, WEST

VMID, TARGET = 190, 9190
MIB = 1 << 20
KEEP = ("--keeplocal=last=3", "--keepremote=last=3")


def write(site, image, megabytes):
    site.run(EAST, "rbd", "bench", "--io-type", "write", "--io-size", "64K", "--io-total", f"{megabytes}M", "--io-pattern",
             "seq", "--io-threads", "1", "--rbd_cache", "false", image)


def mirrored(site, *words):
    report = site.mirrored(f"{VMID}:{TARGET}", "--fast-diff", *KEEP, *words, job="fast")
    site.check_equal(report)
    return report["disks"]


@pytest.fixture
def guest(site, still):
    return still(VMID, targets=(TARGET,), disks=("ceph-ssd", "ceph_hdd.x"), megabytes=64)


@pytest.mark.long
def test_a_running_guest(site, counter):
    """Its snapshots come and go, as many as retention leaves; the counter's last value is on the replica each time."""
    site.destroy(WEST, 9100)
    fast = []
    for number in range(5):
        report = site.mirrored("100:9100", "--online", "--fast-diff", *KEEP, job="fastrun")
        point = site.check_equal(report)
        a, b = site.counters(WEST, [disk["replica_image"] for disk in report["disks"]], point)
        assert 0 <= a - b <= 1
        fast += [disk["fast_diff"] for disk in report["disks"]] if number > 0 else []
        for disk in report["disks"]:
            assert disk["fast_diff"] == (not disk["fast_diff_refused"] and not disk["full"])
    assert any(fast), "some of them were told by the maps"
    site.destroy(WEST, 9100)


@pytest.mark.long
def test_a_guest_of_which_nothing_or_little_changes(site, guest):
    write(site, guest.images[0], 24)
    first = mirrored(site)
    assert [(disk["full"], disk["fast_diff"], disk["fast_diff_refused"]) for disk in first] == [(True, False, "")] * 2
    # Also once retention has removed what the witnesses were for.
    for number in range(6):
        if number in (2, 4):
            write(site, guest.images[number == 4], 2)
        for disk in mirrored(site):
            assert disk["fast_diff"] and not disk["full"], disk


def test_a_rollback_past_the_base(site, guest):
    write(site, guest.images[0], 24)
    site.run(EAST, "qm", "snapshot", str(VMID), "before")
    write(site, guest.images[0], 3)
    mirrored(site)
    write(site, guest.images[0], 2)
    site.run(EAST, "qm", "snapshot", str(VMID), "between")
    write(site, guest.images[0], 1)
    assert all(disk["fast_diff"] for disk in mirrored(site))
    # What a rollback to this one changes is among what was touched since the base before.
    site.run(EAST, "qm", "rollback", str(VMID), "between")
    assert all(disk["fast_diff"] for disk in mirrored(site))
    site.run(EAST, "qm", "delsnapshot", str(VMID), "between")
    site.run(EAST, "qm", "rollback", str(VMID), "before")
    site.run(EAST, "qm", "delsnapshot", str(VMID), "before")
    assert mirrored(site)[0]["fast_diff_refused"] == "a rollback to before cannot be ruled out"
    assert all(disk["fast_diff"] for disk in mirrored(site)), "the next base is one again"


@pytest.mark.long
def test_without_it_nothing_is_kept(site, guest):
    write(site, guest.images[0], 8)
    for number in range(2):
        report = site.mirrored(f"{VMID}:{TARGET}", *KEEP, job="fast")
        assert not any(disk["fast_diff"] or disk["fast_diff_refused"] for disk in report["disks"])
        record = site.run(EAST, "rbd", "image-meta", "get", guest.images[0], "crossover.source.fast")
        assert "older" not in record
    disks = mirrored(site)
    assert disks[0]["fast_diff_refused"].startswith("what was there to roll back to when crossover-fast-")
    assert all(disk["fast_diff"] for disk in mirrored(site))
