"""Connections that break and destinations that stall while a run goes on: it goes on by itself."""

import signal
import time

import pytest
from mirrortest import EAST, REAL_WATCH_TIMEOUT, WEST, wait_for
from test_resume import CONTENT, MIB, TARGET, agent_pids, fill, guest, job, progress, wire_bytes  # noqa: F401


def in_the_middle(site, guest, job, *options):  # noqa: F811
    """A run over a slow link that has sent about half."""
    site.lab("net", "limit", "100mbit")
    before = wire_bytes(site)
    run = site.start_mirror(f"{guest.vmid}:{TARGET}", "--json", *options, job=job)
    wait_for(lambda: wire_bytes(site) - before > 80 * MIB, 120, "half of it is sent")
    return run


def check_went_on(site, run, seconds, why):
    """The run ended well, and where it was cut it went on."""
    done = run.wait(seconds)
    assert done.status == 0, done
    report = done.report()["guests"][0]
    assert report["resumed"]["complete"] and report["resumed"]["disks"][0]["from_bytes"] > 0
    assert any(why in warning for warning in report["warnings"]), report["warnings"]
    site.check_equal(report)


def test_an_agent_that_is_killed(site, guest, job):  # noqa: F811
    run = in_the_middle(site, guest, job)
    for pid in agent_pids(site):
        site.try_run(WEST, "kill", "-9", pid)
    site.lab("net", "unlimit")
    check_went_on(site, run, 150, "agent on pve04")


@pytest.fixture
def real_watch_timeout(site):
    """Ceph's own, for what lives on over there while nobody here hears of it: with less it is taken for dead too soon."""
    site.watch_timeout(WEST, REAL_WATCH_TIMEOUT)
    yield
    site.short_watch_timeouts()


def test_a_link_that_is_cut_for_a_while(site, guest, job, real_watch_timeout):  # noqa: F811
    run = in_the_middle(site, guest, job, "--stall-timeout=3s", "--retries=8")
    site.lab("net", "cut")
    time.sleep(8)  # the fault's length
    assert run.running()
    site.lab("net", "restore")
    site.lab("net", "unlimit")
    check_went_on(site, run, 150, "nothing moved for 3 s")


def test_an_agent_that_stands_still(site, guest, job, real_watch_timeout):  # noqa: F811
    """It is not waited for, and what it holds is taken from it once Ceph has noticed: by its own default, this once."""
    run = in_the_middle(site, guest, job, "--stall-timeout=3s", "--retries=8")
    stopped = agent_pids(site)
    assert stopped
    for pid in stopped:
        site.run(WEST, "kill", "-STOP", pid)
    try:
        site.lab("net", "unlimit")
        check_went_on(site, run, 200, "nothing moved for 3 s")
    finally:
        for pid in stopped:
            site.try_run(WEST, "kill", "-9", pid)


def test_a_destination_that_is_full(site, guest, job):  # noqa: F811
    """Said at once, and put right by the next run when there is space."""
    run = in_the_middle(site, guest, job)
    try:
        site.lab("net", "limit", "10mbit")  # filling it takes some commands of Ceph's
        site.fill(WEST)
        site.lab("net", "unlimit")
        done = run.wait(90)
        assert done.status == 1, done
        assert "no space left in the cluster" in done.complaint(), done
    finally:
        site.unfill(WEST)
    wait_for(lambda: not agent_pids(site), 60, "the agents are gone")
    report = site.mirrored(f"{guest.vmid}:{TARGET}", job=job)
    site.check_equal(report)


def test_two_runs_on_one_guest(site, guest, job):  # noqa: F811
    """The second waits for the first, or says who is at it."""
    run = in_the_middle(site, guest, job)
    hasty = site.mirror(f"{guest.vmid}:{TARGET}", "--lock-wait=0s", job=job)
    assert hasty.status == 1 and "another run is at it: process" in hasty.complaint(), hasty
    assert f"on {EAST}" in hasty.complaint()
    alone = set(agent_pids(site))
    second = site.start_mirror(f"{guest.vmid}:{TARGET}", "--json", job=job)
    wait_for(lambda: set(agent_pids(site)) - alone, 60, "the second has come as far as the destination")
    assert run.running() and second.running()
    site.lab("net", "unlimit")
    first = run.wait(90)
    assert first.status == 0, first
    last = second.wait(90)
    assert last.status == 0, last
    points = [one.report()["guests"][0]["recovery_point"] for one in (first, last)]
    assert points[0] < points[1]
    site.check_equal(last.report()["guests"][0])


@pytest.mark.parametrize("which", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)], ids=["kill", "term"])
def test_a_run_that_is_gone_keeps_nobody_waiting(site, guest, job, which):  # noqa: F811
    run = in_the_middle(site, guest, job)
    run.signal(which)
    run.wait(30)
    begun = progress(site)
    assert begun > 0, "it was gone in the middle"
    site.lab("net", "unlimit")
    report = site.mirrored(f"{guest.vmid}:{TARGET}", "--lock-wait=0s", job=job)
    site.check_equal(report)
