"""--memory holds where it is hard to: much to send, and a peer that takes nothing."""

import re
import signal
import time

import pytest
from mirrortest import EAST, WEST, wait_for
from test_resume import agent_pids, fill, wire_bytes

VMID, TARGET = 171, 9171
MIB = 1 << 20
# What a process has beside the content that is under way: librbd, libssh, what it knows of the cluster.
BESIDE = 150 * MIB


def peaks(site, node):
    """The most memory that each of the node's crossover processes has had."""
    found = []
    for pid in site.try_run(node, "pgrep", "-x", "crossover").split():
        if peak := re.search(r"VmHWM:\s+(\d+) kB", site.try_run(node, "cat", f"/proc/{pid}/status")):
            found.append(int(peak[1]) << 10)
    return found


def stand_still(site):
    """Waits until nothing has crossed the link for three seconds."""
    last, since = wire_bytes(site), time.monotonic()

    def still():
        nonlocal last, since
        now = wire_bytes(site)
        if now - last > 65536:  # a sign of life is not content
            last, since = now, time.monotonic()
        return time.monotonic() - since > 3
    wait_for(still, 60, "the link stands still")


# The last with as many disks as are worked on at once and the memory there is by default: all of it is under way then.
@pytest.mark.parametrize("transport,disks,megabytes,cap", [
    ("agent", 1, 320, 64), pytest.param("rbd", 1, 320, 64, marks=pytest.mark.long), pytest.param("agent", 4, 128, 256, marks=pytest.mark.long)])
def test_a_peer_that_stands_still(site, still, transport, disks, megabytes, cap):
    guest = still(VMID, targets=(TARGET,), megabytes=megabytes, disks=("ceph-ssd",) * disks)
    for disk in range(disks):
        fill(site, guest, 0, megabytes * MIB, disk)
    content = disks * megabytes * MIB
    before = wire_bytes(site)
    run = site.start_mirror(f"{VMID}:{TARGET}", f"--memory={cap}M", f"--transport={transport}", "--retries=0", "--json",
                            job="memory")
    wait_for(lambda: wire_bytes(site) - before > content // 4, 120, "a quarter is sent")
    stopped = agent_pids(site) or site.try_run(WEST, "pgrep", "-x", "rbd").split()
    assert stopped
    for pid in stopped:
        site.run(WEST, "kill", f"-{signal.SIGSTOP.value}", pid)
    try:
        stand_still(site)
        assert wire_bytes(site) - before < content, "it was not over before its peer stood still"
        highest = {node: peaks(site, node) for node in (EAST, WEST)}
    finally:
        for pid in stopped:
            site.run(WEST, "kill", f"-{signal.SIGCONT.value}", pid)
    # Also while it makes up for that.
    while run.running():
        for node, most in highest.items():
            most += peaks(site, node)
    done = run.wait()
    assert done.status == 0, done
    site.check_equal(done.guest(VMID))
    assert highest[EAST] and (highest[WEST] or transport == "rbd")
    for node, most in highest.items():
        assert max(most, default=0) <= cap * MIB + BESIDE, (node, most)
