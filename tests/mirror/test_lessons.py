"""What the shell tool that this one replaces gets wrong: one test a row of that list, named after it. Row 13 is in
test_freeze.py."""

import json
import re
import signal

import pytest
from mirrortest import EAST, WEST, wait_for
from test_resume import fill

VMID, TARGET = 180, 9180
OTHER, OTHER_TARGET = 1180, 9181
MIB = 1 << 20


@pytest.fixture
def job(request):
    return re.sub(r"\W|_|test_lesson", "", request.node.name)[:13]


@pytest.fixture
def guest(site, still):
    made = still(VMID, targets=(TARGET,), disks=("ceph-ssd", "ceph_hdd.x"))
    for number, _ in enumerate(made.images):
        write(site, made, number, b"first")
    return made


def write(site, guest, disk, text, offset=0):
    """Writes to a disk as its guest would."""
    script = ("import sys,rados,rbd\n"
              "pool,name=sys.argv[1].split('/')\n"
              "with rados.Rados(conffile='/etc/pve/ceph.conf') as c, c.open_ioctx(pool) as i, rbd.Image(i,name) as m:\n"
              "    m.write(sys.argv[2].encode(),int(sys.argv[3]))\n")
    site.run(guest.node, "/usr/bin/python3", "-c", script, guest.images[disk], text.decode() * 100, str(offset))


def replicas(site, target=TARGET):
    return sorted(name for name in site.images(WEST) if f"/vm-{target}-" in name)


def cut_in_the_middle(site, guest, job, *options):
    """A run whose tool is killed while it sends the second disk. Returns how it ended."""
    site.lab("net", "limit", "20mbit")
    try:
        run = site.start_mirror(f"{guest.vmid}:{TARGET}", *options, job=job)
        wait_for(lambda: any('"applying"' in image["meta"].get("crossover.replica", "")
                             and json.loads(image["meta"]["crossover.replica"])["end_snapshot"]
                             for name, image in site.images(WEST).items() if f"/vm-{TARGET}-" in name), 60, "it sends")
        run.signal(signal.SIGKILL)
        return run.wait(30)
    finally:
        site.lab("net", "unlimit")


def test_lesson_01_a_failed_transfer_is_seen(site, guest, job):
    fill(site, guest, 0, 12 * MIB)
    site.lab("net", "limit", "5mbit")
    try:
        run = site.start_mirror(f"{VMID}:{TARGET}", "--retries=0", "--json", job=job)
        agents = wait_for(lambda: replicas(site) and site.try_run(WEST, "pgrep", "-x", "crossover").split(), 60, "agents")
        site.run(WEST, "kill", "-9", *agents)
        done = run.wait(60)
    finally:
        site.lab("net", "unlimit")
    assert done.status == 1 and done.report()["guests"][0]["outcome"] == "failed", done
    assert all(not site.snapshots(WEST, name) for name in replicas(site))


def test_lesson_02_a_cut_run_keeps_the_base_and_names_nothing_that_was_not_sent(site, guest, job):
    base = site.mirrored(f"{VMID}:{TARGET}", "--keeplocal=0s", "--keepremote=0s", job=job)["recovery_point"]
    fill(site, guest, 0, 12 * MIB)
    cut_in_the_middle(site, guest, job, "--keeplocal=0s", "--keepremote=0s")
    for node, images in ((EAST, guest.images), (WEST, replicas(site))):
        assert all(base in site.snapshots(node, name) for name in images)
    assert all(site.snapshots(WEST, name) == [base] for name in replicas(site))
    report = site.mirrored(f"{VMID}:{TARGET}", "--keeplocal=0s", "--keepremote=0s", job=job)
    assert all(disk["base"] and not disk["full"] for disk in report["disks"])
    site.check_equal(report)


def test_lesson_03_a_truncated_first_copy_is_none(site, guest, job):
    fill(site, guest, 0, 12 * MIB)
    cut_in_the_middle(site, guest, job)
    assert all(not site.snapshots(WEST, name) for name in replicas(site))
    assert "lock: migrate\n" in site.config(WEST, TARGET)
    assert site.lab("exec", WEST, "qm", "start", str(TARGET), check=False).returncode != 0
    site.check_equal(site.mirrored(f"{VMID}:{TARGET}", job=job))


def test_lesson_04_no_disk_gets_what_is_another_s(site, guest, still, job):
    other = still(OTHER, targets=(OTHER_TARGET,), disks=("ceph-ssd", "ceph_hdd.x"))
    both = f"{VMID}:{TARGET},{OTHER}:{OTHER_TARGET}"
    for round_number in range(3):
        for one in (guest, other):
            write(site, one, round_number % 2, f"{one.vmid}/{round_number}".encode(), 4096 * (round_number + 1))
        done = site.mirror(both, "--json", job=job)
        assert done.status == 0, done
        for one in (VMID, OTHER):
            site.check_equal(done.guest(one))


def test_lesson_05_a_replica_that_was_written_is_not_overwritten_unasked(site, guest, job):
    site.mirrored(f"{VMID}:{TARGET}", job=job)
    replica = replicas(site)[0]
    site.run(WEST, "rbd", "bench", "--io-type", "write", "--io-total", "64K", replica)
    before = site.digest(WEST, replica)
    done = site.mirror(f"{VMID}:{TARGET}", job=job)
    assert done.status == 3 and replica in done.complaint(), done
    assert site.digest(WEST, replica) == before


def test_lesson_07_somebody_else_s_lock_stays(site, guest, job):
    locked = guest.config().replace("\n", "\nlock: backup\n", 1)
    site.write_config(EAST, VMID, locked)
    done = site.mirror(f"{VMID}:{TARGET}", "--lock-wait=1s", job=job)
    assert done.status == 1 and "locked (backup): " in done.complaint(), done
    assert guest.config() == locked
    assert site.mirror(f"{VMID}:{TARGET}", "--nolock", job=job).status == 0
    assert guest.config() == locked


def test_lesson_08_snapshots_are_of_all_disks_or_of_none(site, guest, job):
    site.run(EAST, "rbd", "snap", "create", "--no-progress", f"{guest.images[1]}@mine")
    site.run(EAST, "rbd", "snap", "limit", "set", "--limit", "1", guest.images[1])
    done = site.mirror(f"{VMID}:{TARGET}", job=job)
    assert done.status == 1, done
    assert [site.snapshots(EAST, name) for name in guest.images] == [[], ["mine"]]
    assert "lock" not in guest.config()
    site.run(EAST, "rbd", "snap", "limit", "clear", guest.images[1])
    site.check_equal(site.mirrored(f"{VMID}:{TARGET}", job=job))


def test_lesson_09_every_disk_is_replicated_or_named(site, still, job):
    guest = still(VMID, targets=(TARGET,), disks=("ceph-ssd", "ceph-ssd", "ceph_hdd.x"))
    config = re.sub(r"(?m)^(scsi0: \S+)", r"\1,cache=none", guest.config())
    config = re.sub(r"(?m)^scsi1: ceph-ssd:", "scsi1: kr:", config)
    config = re.sub(r"(?m)^(scsi2: \S+)", r"\1,backup=no", config)
    site.write_config(EAST, VMID, config)
    report = site.mirrored(f"{VMID}:{TARGET}", job=job)
    assert [disk["key"] for disk in report["disks"]] == ["scsi0", "scsi1"]
    assert [(one["key"], one["is_disk"]) for one in report["left_out"]] == [("scsi2", True)]
    site.check_equal(report)


def test_lesson_10_a_configuration_loses_nothing_on_its_way(site, guest, job):
    config = re.sub(r"(?m)^(scsi0: \S+?),size=(\S+)", r"\1,discard=on,iothread=1,size=\2", guest.config())
    config = re.sub(r"(?m)^(scsi1: [^,\n]+).*", r"\1", config)
    config = config.rstrip("\n") + "\n#a remark\nefidisk0: none,efitype=4m\n\n[keep]\nmemory: 128\n"
    site.write_config(EAST, VMID, config.replace("efidisk0: none,efitype=4m\n", ""))
    site.mirrored(f"{VMID}:{TARGET}", job=job)
    replica = site.config(WEST, TARGET)
    storage = r"ceph-ssd:vm-9180-disk-\d-ceph"
    assert re.search(rf"(?m)^scsi0: {storage}-ssd,discard=on,iothread=1,size=\S+$", replica), replica
    assert re.search(rf"(?m)^scsi1: {storage}_hdd.x$", replica), replica
    assert guest.config() == config.replace("efidisk0: none,efitype=4m\n", "")


def test_lesson_11_names_are_exact(site, guest, still, job):
    still(OTHER, "--tags", "nonprod", targets=(OTHER_TARGET,))
    site.run(EAST, "qm", "set", str(VMID), "--tags", "prod")
    both = f"{VMID}:{TARGET},{OTHER}:{OTHER_TARGET}"
    report = site.mirror(both, f"--excludevmids={OTHER}", "--dry-run", "--json", job=job).report()
    assert [one["vmid"] for one in report["guests"]] == [VMID]
    report = site.mirror("all", "--tag=prod", "--prefixid=9", "--dry-run", "--json", job=job).report()
    assert [one["vmid"] for one in report["guests"]] == [VMID]
    done = site.mirror(str(VMID), "--prefixid=010", "--dry-run", job=job)
    assert done.status == 2, done


def test_lesson_12_what_is_not_ours_by_its_whole_name_stays(site, guest, job):
    image = guest.images[0]
    for name in ("mirror-before-upgrade", "mirror-20250101000000", "crossover-other-20200101T000000Z"):
        site.run(EAST, "rbd", "snap", "create", "--no-progress", f"{image}@{name}")
    first = site.mirrored(f"{VMID}:{TARGET}", job="one")["recovery_point"]
    try:
        second = site.mirrored(f"{VMID}:{OTHER_TARGET}", job="two")["recovery_point"]
        for _ in range(2):
            newest = site.mirrored(f"{VMID}:{TARGET}", job="one")["recovery_point"]
        assert re.fullmatch(r"crossover-one-\d{8}T\d{6}Z", newest)
        left = site.snapshots(EAST, image)
        assert {"mirror-before-upgrade", "mirror-20250101000000", "crossover-other-20200101T000000Z", second, newest} == \
            set(left) and first not in left
        report = site.mirrored(f"{VMID}:{OTHER_TARGET}", job="two")
        assert all(disk["base"] == second for disk in report["disks"])
    finally:
        site.destroy(WEST, OTHER_TARGET)


def test_lesson_14_a_vm_that_is_no_replica_is_not_touched(site, guest, still, job):
    site.destroy(WEST, TARGET)
    site.create(TARGET, "--name", "innocent", node=WEST)
    with site.unchanged():
        for words in ((), ("--overwrite",)):
            done = site.mirror(f"{VMID}:{TARGET}", *words, job=job)
            assert done.status == 3 and "innocent" in done.complaint(), done


def test_lesson_16_a_dry_run_changes_nothing_and_jobs_do_not_wait_for_each_other(site, guest, job):
    with site.unchanged():
        done = site.mirror(f"{VMID}:{TARGET}", "--dry-run", job=job)
        assert done.status == 0 and "make the snapshot" in done.out, done
    # From another folder, without a job's name.
    done = site.crossover("mirror", f"--vmid={VMID}:{TARGET}", f"--destination={WEST}", "--pool=ceph-ssd", "--json")
    assert done.status == 0 and done.report()["guests"][0]["recovery_point"].startswith("crossover-default-"), done
