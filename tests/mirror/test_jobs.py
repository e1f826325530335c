"""Several jobs of one guest, and runs of several guests at once: none takes another's base, none waits for another's
guest."""

import pytest
from mirrortest import EAST, WEST
from test_retries import in_the_middle
from test_resume import guest, job  # noqa: F401

VMID = 185
FIRST = {"target": 9185, "job": "first", "destination": WEST, "pool": "ceph-ssd"}
SECOND = {"target": 9186, "job": "second", "destination": "pve05", "pool": "ceph_hdd.x"}


def write(site, image, megabytes):
    site.run(EAST, "rbd", "bench", "--io-type", "write", "--io-size", "64K", "--io-total", f"{megabytes}M", "--io-pattern",
             "rand", "--rbd_cache", "false", image)


def start(site, to):
    return site.start_mirror(f"{VMID}:{to['target']}", "--json", "--accept-new-host-keys", job=to["job"], destination=to["destination"],
                             pool=to["pool"])


def ended(site, run, to):
    done = run.wait(90)
    assert done.status == 0, done
    report = done.report()["guests"][0]
    assert report["target_node"] == to["destination"]
    site.check_equal(report, destination=to["destination"])
    return report


@pytest.fixture
def mirrored_guest(site, still):
    made = still(VMID, targets=(FIRST["target"], SECOND["target"]), disks=("ceph-ssd", "ceph_hdd.x"))
    yield made
    site.destroy(SECOND["destination"], SECOND["target"])
    site.run(EAST, "ssh-keygen", "-q", "-R", SECOND["destination"])


def test_two_jobs_with_different_destinations(site, mirrored_guest):
    """One after the other, and at once: each goes on from its own base, though neither keeps more than that."""
    bases = {}
    for number in range(3):
        for image in mirrored_guest.images:
            write(site, image, 1)
        if number < 2:
            reports = [ended(site, start(site, to), to) for to in (FIRST, SECOND)]
        else:
            runs = [(start(site, to), to) for to in (FIRST, SECOND)]
            reports = [ended(site, run, to) for run, to in runs]
        for report, to in zip(reports, (FIRST, SECOND)):
            assert [disk["base"] for disk in report["disks"]] == [bases.get(to["job"], "")] * 2
            bases[to["job"]] = report["recovery_point"]
        for image in mirrored_guest.images:
            assert sorted(site.snapshots(EAST, image)) == sorted(bases.values()), "each job's base, and nothing else"


def test_two_guests_at_once(site, guest, still, job):  # noqa: F811
    """A run of another guest does not wait for one that is in the middle of its transfer."""
    other = still(VMID, targets=(FIRST["target"],))
    write(site, other.images[0], 1)
    run = in_the_middle(site, guest, job)
    report = site.mirrored(f"{VMID}:{FIRST['target']}", "--lock-wait=0s", job=job)
    assert run.running(), "it was faster than the other, which goes on"
    site.check_equal(report)
    site.lab("net", "unlimit")
    done = run.wait(90)
    assert done.status == 0, done
    site.check_equal(done.guest(guest.vmid))
