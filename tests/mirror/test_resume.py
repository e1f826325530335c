"""Transfers that are cut and go on where they were, and what of them crosses the link twice."""

import json
import re
import signal

import pytest
from mirrortest import EAST, WEST, wait_for

TARGET = 9170
MIB = 1 << 20
CONTENT = 160 * MIB
# Of the link's rate of 100 Mbit/s: how much may be sent again.
AGAIN = 64 * MIB


@pytest.fixture
def job(request):
    return re.sub(r"\W|_|test", "", request.node.name)[:13]


@pytest.fixture
def guest(site, still):
    """A stopped guest with a disk that holds what cannot be compressed."""
    made = still(170, targets=(TARGET,), megabytes=CONTENT // MIB + 96)
    fill(site, made, 0, CONTENT)
    return made


def fill(site, guest, offset, length, disk=0):
    """Writes random bytes to a disk, through a writing client of the guest's node."""
    script = ("import os,sys,rados,rbd\n"
              "pool,name=sys.argv[1].split('/'); offset,length=map(int,sys.argv[2:])\n"
              "with rados.Rados(conffile='/etc/pve/ceph.conf') as c, c.open_ioctx(pool) as i, rbd.Image(i,name) as m:\n"
              "    for at in range(offset,offset+length,4<<20): m.write(os.urandom(min(4<<20,offset+length-at)),at)\n")
    site.run(guest.node, "/usr/bin/python3", "-c", script, guest.images[disk], str(offset), str(length))


def wire_bytes(site):
    """What went over the link between the clusters so far, both ways."""
    for line in site.run("switch-east", "cat", "/proc/net/dev").splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == "wan":
            columns = rest.split()
            return int(columns[0]) + int(columns[8])
    raise AssertionError("the switch has no link")


def replica_metadata(site):
    return next((image["meta"] for name, image in site.images(WEST).items() if f"/vm-{TARGET}-" in name), {})


def progress(site):
    return json.loads(replica_metadata(site).get("crossover.progress", "{}")).get("offset", 0)


def agent_pids(site):
    return site.try_run(WEST, "pgrep", "-x", "crossover").split()


def cut(site, run, how):
    """Ends a run in the middle: its own process, or the agent."""
    if how == "agent":
        for pid in agent_pids(site):
            site.try_run(WEST, "kill", "-9", pid)
    else:
        run.signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
    return run.wait(60)


def run_cut(site, guest, job, how, at):
    """A run over a slow link that is cut when about `at` bytes have crossed it. Returns how many had."""
    site.lab("net", "limit", "100mbit")
    before = wire_bytes(site)
    run = site.start_mirror(f"{guest.vmid}:{TARGET}", "--retries=0", job=job)
    wait_for(lambda: wire_bytes(site) - before > at, 120, "half of it is sent")
    done = cut(site, run, how)
    assert done.status != 0, done
    site.lab("net", "unlimit")
    return wire_bytes(site) - before


@pytest.mark.parametrize("first,how", [pytest.param(True, "kill", marks=pytest.mark.long), (True, "agent"), (False, "kill"),
                                       pytest.param(False, "term", marks=pytest.mark.long)],
                         ids=["first-kill", "first-agent", "later-kill", "later-term"])
def test_a_cut_transfer_goes_on(site, guest, job, first, how):
    config = guest.config()
    content = CONTENT
    if not first:
        site.mirrored(f"{guest.vmid}:{TARGET}", job=job)
        content = 128 * MIB
        fill(site, guest, 16 * MIB, content)
    sent = run_cut(site, guest, job, how, 88 * MIB)
    assert progress(site) > 0
    begun = json.loads(replica_metadata(site)["crossover.replica"])["end_snapshot"]
    assert begun not in site.snapshots(WEST, next(n for n in site.images(WEST) if f"/vm-{TARGET}-" in n))
    before = wire_bytes(site)
    report = site.mirrored(f"{guest.vmid}:{TARGET}", job=job)
    sent += wire_bytes(site) - before
    assert report["resumed"]["recovery_point"] == begun and report["resumed"]["complete"]
    assert report["resumed"]["disks"][0]["from_bytes"] > 0
    # Both directions of the link, with what ssh and TCP add.
    assert sent < 1.05 * (content + AGAIN)
    site.check_equal(report)
    assert "crossover.progress" not in replica_metadata(site)
    assert guest.config() == config


def test_a_cut_transfer_whose_snapshot_is_gone_is_given_up(site, guest, job):
    base = site.mirrored(f"{guest.vmid}:{TARGET}", job=job)["recovery_point"]
    fill(site, guest, 0, 128 * MIB)
    run_cut(site, guest, job, "kill", 80 * MIB)
    begun = json.loads(replica_metadata(site)["crossover.replica"])["end_snapshot"]
    site.run(EAST, "rbd", "snap", "rm", "--no-progress", f"{guest.images[0]}@{begun}")
    report = site.mirrored(f"{guest.vmid}:{TARGET}", job=job)
    assert report["resumed"] is None and report["disks"][0]["base"] == base
    assert report["warnings"] == [f"{report['disks'][0]['replica_image']} is rolled back to {base}: {begun} cannot be "
                                  f"completed, its snapshot of {guest.images[0]} is gone"]
    site.check_equal(report)
