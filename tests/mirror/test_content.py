"""The purpose of it all: what is on the replica is what was on the source at one moment, and it can be started."""

import re

import pytest
from mirrortest import BOOT_SECONDS, EAST, WEST, wait_for

TARGET = 9100


@pytest.fixture
def no_replica(site):
    site.destroy(WEST, TARGET)
    yield
    site.destroy(WEST, TARGET)


@pytest.mark.parametrize("transport", [pytest.param("rbd", marks=pytest.mark.long), "agent"])
def test_a_guest_that_writes_all_the_time(site, counter, no_replica, transport):
    config = counter.config()
    last = -1
    previous = ""
    for number in range(4):
        full = number == 0
        report = site.mirrored(f"100:{TARGET}", "--online", f"--transport={transport}", job="content")
        check_report(report, full, previous)
        point = site.check_equal(report)
        sources = [disk["source_image"] for disk in report["disks"]]
        replicas = [disk["replica_image"] for disk in report["disks"]]
        assert tuple(sources) == counter.images
        a, b = site.counters(WEST, replicas, point)
        assert 0 <= a - b <= 1, "the disks are of the same moment"
        assert a > last, "it is a later moment than the last one"
        # Without windows only the newest point stays, on both sides.
        assert [name for name in site.snapshots(WEST, replicas[0]) if "content" in name] == [point]
        assert [name for name in site.snapshots(EAST, sources[0]) if "content" in name] == [point]
        previous, last = point, a
        site.check_at_ease(counter, config)

    # The replica as PVE sees it, then as a machine that is started because the first data centre is gone.
    replica = site.config(WEST, TARGET)
    assert "scsi0: ceph-ssd:vm-9100-disk-0-ceph-ssd,discard=on,iothread=1,size=64M\n" in replica
    assert "virtio0: ceph-ssd:vm-9100-disk-0-ceph_hdd.x,cache=none,size=64M\n" in replica
    assert "onboot: 0\n" in replica and "lock" not in replica
    console = f"/var/run/qemu-server/{TARGET}.console.log"
    site.run(WEST, "rm", "-f", console)
    site.run(WEST, "qm", "start", str(TARGET))
    found = wait_for(lambda: re.search(r"found counter A=(\d+) B=(\d+)", site.try_run(WEST, "cat", console)), BOOT_SECONDS,
                     "the replica's counter")
    assert (int(found[1]), int(found[2])) == (a, b), "it goes on where its recovery point is"


def check_report(report, full, base):
    assert report["outcome"] == "ok" and report["error"] == "" and report["warnings"] == []
    assert (report["vmid"], report["target_vmid"], report["name"]) == (100, TARGET, "counter")
    assert (report["source_node"], report["target_node"]) == (EAST, WEST)
    assert report["running"] and report["frozen"] and report["consistency"] == "frozen"
    assert 0 < report["frozen_for_ms"] < 10000
    assert re.fullmatch(r"crossover-content-\d{8}T\d{6}Z", report["recovery_point"])
    assert [disk["key"] for disk in report["disks"]] == ["scsi0", "virtio0"]
    for disk in report["disks"]:
        assert (disk["full"], disk["base"], disk["size_bytes"]) == (full, base, 64 << 20)
        assert 0 < disk["stream_bytes"] < 64 << 20
