"""Comparing recovery points: a replica that rots is found where it rots, mended, and its bad point is not used again."""

import json

import pytest
from labtest import USERS
from mirrortest import EAST, WEST

VMID, TARGET = 160, 9160
JOB = "verify"
MIB = 1 << 20


@pytest.fixture
def guest(site, still):
    """A stopped guest with two disks of 32 MiB, a part of them written."""
    made = still(VMID, targets=(TARGET,), disks=("ceph-ssd", "ceph_hdd.x"), megabytes=32)
    for image in made.images:
        write(site, image, 8 * MIB)
    return made


def write(site, image, count):
    site.run(EAST, "rbd", "bench", "--io-type", "write", "--io-size", "65536", "--io-total", str(count), "--io-pattern",
             "seq", "--rbd_cache", "false", image)


def mirrored(site, *words):
    return site.mirrored(f"{VMID}:{TARGET}", "--keeplocal=1d", "--keepremote=1d", *words, job=JOB)


def verify(site, *words):
    return site.crossover("verify", f"--vmid={VMID}:{TARGET}", f"--destination={WEST}", "--pool=ceph-ssd",
                          f"--jobname={JOB}", *USERS, "--keeplocal=1d", "--keepremote=1d", *words)


def rot(site, image, offset, text):
    """Other bytes on the replica's disk, as a drive that lies would have them: written into the RADOS object that head
    and snapshots share, without a word to RBD."""
    info = json.loads(site.run(WEST, "rbd", "info", "--format", "json", image))
    name = f"{info['block_name_prefix']}.{offset // (4 * MIB):016x}"
    pool = image.split("/")[0]
    site.run(WEST, "sh", "-c", 'cat > /tmp/rot && rados -p "$0" put "$1" /tmp/rot --offset "$2"', pool, name,
             str(offset % (4 * MIB)), input=text)


def replica_of(report, key):
    return next(disk["replica_image"] for disk in report["disks"] if disk["key"] == key)


def test_rot_is_found_and_mended(site, guest):
    first = mirrored(site)["recovery_point"]
    write(site, guest.images[0], MIB)
    report = mirrored(site)
    bad = report["recovery_point"]
    with site.unchanged():
        clean = verify(site)
    assert clean.status == 0 and clean.err == "", clean
    assert "Compared 1 VMs: 1 equal" in clean.out

    replica = replica_of(report, "scsi0")
    rot(site, replica, 5 * MIB + 100, "rotten")
    rot(site, replica, 6 * MIB - 10, "x" * 100)
    with site.unchanged():
        found = verify(site)
    assert found.status == 3, found
    assert found.complaint() == f"crossover: VM {VMID}: the recovery point {bad} differs from the source"
    assert f"VM {VMID} - scsi0 differs: 4096 bytes at {5 * MIB}\n" in found.out
    assert f"VM {VMID} - scsi0 differs: 8192 bytes at {6 * MIB - 4096}\n" in found.out
    assert "scsi1 differs" not in found.out

    as_json = verify(site, "--json")
    assert as_json.status == 3
    (verified,) = as_json.report()["guests"]
    assert (verified["outcome"], verified["point"]) == ("differs", bad)
    assert {disk["key"]: disk["differing"] for disk in verified["disks"]} == {
        "scsi0": [{"offset": 5 * MIB, "length_bytes": 4096}, {"offset": 6 * MIB - 4096, "length_bytes": 8192}],
        "scsi1": []}

    mended = verify(site, "--repair")
    assert mended.status == 0, mended
    after = verify(site, "--json")
    assert after.status == 0, after
    (verified,) = after.report()["guests"]
    assert verified["outcome"] == "equal" and verified["point"] > bad
    assert f"{verified['point']} has it right" in mended.complaint()
    assert site.digest(EAST, guest.images[0], verified["point"]) == site.digest(WEST, replica, verified["point"])
    assert site.digest(WEST, replica, bad) != site.digest(WEST, replica, verified["point"])
    assert bad_points(site, replica) == {bad}

    # The next run starts from the good one. Once that is known to be bad too, an older good one is the base, and not the
    # bad one between them.
    assert {disk["base"] for disk in mirrored(site)["disks"]} == {verified["point"]}
    for image in (replica, replica_of(report, "scsi1")):
        mark_as_bad(site, image, but=first)
    last = mirrored(site)
    assert {disk["base"] for disk in last["disks"]} == {first}
    assert "was found to differ from the source" in last["warnings"][0]
    site.check_equal(last)


def mark_as_bad(site, image, but):
    record = json.loads(site.images(WEST)[image]["meta"]["crossover.replica"])
    for point in record["points"]:
        point["bad"] = point["name"] != but
    site.run(WEST, "rbd", "image-meta", "set", image, "crossover.replica", json.dumps(record))


def bad_points(site, image):
    record = json.loads(site.images(WEST)[image]["meta"]["crossover.replica"])
    return {point["name"] for point in record["points"] if point.get("bad")}


@pytest.mark.long
def test_a_sample_and_the_stock_command(site, guest):
    report = mirrored(site)
    rot(site, replica_of(report, "scsi0"), 2 * MIB, "x" * (2 * MIB))
    done = [verify(site, f"--sample=50%:{seed}", "--json") for seed in range(3)]
    assert {run.status for run in done} == {3}, "each misses all eight blocks with one in 256"
    for run in done:
        (verified,) = run.report()["guests"]
        (disk,) = [disk for disk in verified["disks"] if disk["key"] == "scsi0"]
        assert 0 < disk["compared_bytes"] < 8 * MIB
        assert all(2 * MIB <= part["offset"] < 4 * MIB for part in disk["differing"])
    assert len({json.dumps(run.report()["guests"][0]["disks"][0]["differing"]) for run in done}) > 1
    assert "(a sample of 50%, with the seed 7)" in verify(site, "--sample=50%:7").out

    stock = verify(site, "--transport=rbd", "--json")
    assert stock.status == 3
    assert stock.report()["guests"][0]["disks"][0]["differing"] == [{"offset": 2 * MIB, "length_bytes": 2 * MIB}]
    refused = verify(site, "--transport=rbd", "--sample=50%")
    assert refused.status == 1 and "install crossover there" in refused.err


def test_what_cannot_be_compared(site, guest):
    never = verify(site)
    assert never.status == 1 and "no recovery point on the destination yet" in never.complaint()
    both = verify(site, "--repair", "--sample=5%")
    assert both.status == 2 and "--sample" in both.complaint()
