"""Runs that are cut short: the guest goes on, thawed and unlocked, its configuration byte for byte what it was, and the
next run makes a good recovery point."""

import json
import signal
import time

import pytest
from mirrortest import WEST, wait_for

TARGET = 9102


@pytest.fixture
def job(site, request):
    """A job of its own for each test, whose replica goes afterwards."""
    yield request.node.name.replace("test_", "").replace("_", "")[:13]
    site.destroy(WEST, TARGET)


def mends(site, guest, config, job):
    """What has to hold after whatever happened: the guest is at ease, and another run brings a good replica."""
    site.check_at_ease(guest, config)
    report = site.mirrored(f"{guest.vmid}:{TARGET}", "--online", job=job)
    point = site.check_equal(report)
    a, b = site.counters(WEST, [disk["replica_image"] for disk in report["disks"]], point)
    assert 0 <= a - b <= 1
    assert "lock" not in site.config(WEST, TARGET)
    site.check_at_ease(guest, config)


def freezes(guest):
    return guest.console().count("fsfreeze freeze")


def thawed(guest):
    return guest.console().count("fsfreeze thaw")


@pytest.mark.parametrize("which,status", [(signal.SIGINT, 130), (signal.SIGKILL, 137)], ids=["int", "kill"])
def test_signal_during_the_freeze(site, slow, job, which, status):
    config, before = slow.config(), freezes(slow)
    run = site.start_mirror(f"102:{TARGET}", "--online", job=job)
    wait_for(lambda: freezes(slow) > before, 60, "the freeze begins")
    assert "lock: backup\n" in slow.config()
    run.signal(which)
    done = run.wait(30)
    assert done.status == status, done
    if which != signal.SIGKILL:
        assert done.complaint() == "crossover: interrupted; guests are thawed and unlocked"
        assert slow.config() == config and thawed(slow) > before, "at the moment it says so"
    else:
        wait_for(lambda: slow.config() == config, 30, "the lock goes with the run that held it")
        wait_for(lambda: thawed(slow) > before, 30, "it is thawed")
    mends(site, slow, config, job)


@pytest.mark.parametrize("first,which,status",
                         [pytest.param(True, signal.SIGTERM, 130, marks=pytest.mark.long), pytest.param(True, signal.SIGKILL, 137, marks=pytest.mark.long),
                          pytest.param(False, signal.SIGINT, 130, marks=pytest.mark.long), (False, signal.SIGKILL, 137)], ids=["first-term", "first-kill", "later-int", "later-kill"])
def test_signal_during_the_transfer(site, counter, job, which, status, first):
    config = counter.config()
    if not first:
        site.mirrored(f"100:{TARGET}", "--online", job=job)
    run = in_transfer(site, counter, job)
    run.signal(which)
    done = run.wait(30)
    assert done.status == status, done
    site.lab("net", "unlimit")
    mends(site, counter, config, job)


@pytest.mark.long
def test_a_tool_that_stands_still_loses_the_lock(site, slow, job):
    """As when its host loses power: nobody tells the node that has the lock, and its connection stays."""
    config = slow.config()
    run = in_transfer(site, slow, job, "--keep-slock")
    assert "lock: backup\n" in slow.config()
    run.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        wait_for(lambda: slow.config() == config, 60, "the lock is given back")
        assert 20 < time.monotonic() - stopped < 40
    finally:
        run.signal(signal.SIGCONT)
        site.lab("net", "unlimit")
    done = run.wait(120)
    # Its lease on the disks ran out as well.
    assert done.status == 1 and "lease" in done.err, done
    mends(site, slow, config, job)


def in_transfer(site, guest, job, *options):
    """A run whose transfer is under way and will take long: what the guest writes meanwhile is not left to chance."""
    guest.writes_on(100)
    site.lab("net", "limit", "300kbit")
    run = site.start_mirror(f"{guest.vmid}:{TARGET}", "--online", "--compress=none", *options, job=job)
    wait_for(lambda: sending(site), 60, "the transfer begins")
    return run


def sending(site):
    """Whether a disk's record says that its head is between two recovery points."""
    records = [json.loads(image["meta"].get("crossover.replica", "{}"))
               for name, image in site.images(WEST).items() if f"vm-{TARGET}-" in name]
    return any(record.get("state") == "applying" and record["end_snapshot"] for record in records)


@pytest.mark.long
def test_cut_link(site, counter, job):
    """A dead link is noticed after a minute of silence, and the guest has nothing of it."""
    config = counter.config()
    run = in_transfer(site, counter, job, "--retries=0")
    site.lab("net", "cut")
    site.check_at_ease(counter, config)
    done = run.wait(100)
    assert done.status == 1 and "VM 100" in done.complaint(), done
    site.lab("net", "restore")
    site.lab("net", "unlimit")
    mends(site, counter, config, job)


def test_signal_while_the_link_is_dead(site, counter, job):
    config = counter.config()
    run = in_transfer(site, counter, job)
    site.lab("net", "cut")
    run.signal(signal.SIGTERM)
    done = run.wait(20)
    assert done.status == 130, done
    site.lab("net", "restore")
    site.lab("net", "unlimit")
    mends(site, counter, config, job)
