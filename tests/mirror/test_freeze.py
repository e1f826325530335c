"""How a running guest is held while its snapshots are made: frozen by its agent, paused, or not at all; and that it goes
on soon, whatever becomes of the run."""

import contextlib
import signal
import subprocess

import pytest
from conftest import setting
from mirrortest import BOOT_SECONDS, EAST, WEST, wait_for

TARGET = 9105
NODE = "pve02"  # not the node crossover runs on: the guest is held over ssh
CEPH = "10.77.1.100"
HELD_AT_MOST = 15
# QEMU serves one client at its monitor, and while a guest is paused that is who paused it: this one is for looking on.
LOOKING_ON = " -chardev socket,id=look,path=/var/run/qemu-server/105.look,server=on,wait=off -mon chardev=look,mode=control"
LOOK = """
import json, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
lines = link.makefile("rw")
lines.readline()
for command in ("qmp_capabilities", "query-status"):
    print(json.dumps({"execute": command}), file=lines, flush=True)
    answer = {}
    while "return" not in answer:
        answer = json.loads(lines.readline())
print(answer["return"]["status"])
"""
OCCUPY = """
import socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
link.recv(1)
print("in", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def job(site, request):
    yield request.node.name.replace("test_", "").replace("_", "")[:13]
    site.destroy(WEST, TARGET)


@pytest.fixture(scope="module")
def silent(site):
    """A guest on pve02 whose configuration promises an agent that is not there."""
    site.destroy(NODE, 105)
    guest = site.create_counting(105, "--name", "silent", "--args", setting("interval", 40) + setting("no-agent", 1) + LOOKING_ON,
                                 node=NODE)
    wait_for(guest.counted, BOOT_SECONDS, "VM 105 counts")
    yield guest
    site.destroy(NODE, 105)


@contextlib.contextmanager
def configured(site, guest, change):
    """With another configuration file, of which the running guest learns nothing."""
    before = guest.config()
    site.write_config(guest.node, guest.vmid, change(before))
    try:
        yield guest.config()
    finally:
        site.write_config(guest.node, guest.vmid, before)


def without_agent(config):
    return config.replace("agent: 1\n", "")


def status(guest):
    return guest.site.run(guest.node, "qm", "status", str(guest.vmid)).strip().removeprefix("status: ")


def looks(guest):
    """Its state, seen without its monitor."""
    return guest.site.run(guest.node, "python3", "-c", LOOK, f"/var/run/qemu-server/{guest.vmid}.look").strip()


def goes_on(guest, config):
    """It runs, is neither frozen nor locked, and writes."""
    assert guest.config() == config
    assert status(guest) == "running"
    guest.writes_on()


def left_by(site, guest, job):
    """The job's snapshots of the guest's disks."""
    images = site.images(EAST)
    return [name for image in guest.images for _, name, _ in images[image]["snapshots"] if f"-{job}-" in name]


def agent_says(guest, word):
    """While its hook runs, or another client is there, the agent says nothing."""
    said = guest.site.try_run(guest.node, "qm", "guest", "cmd", str(guest.vmid), "fsfreeze-status")
    return said.strip() == word


def thawed(guest):
    return guest.console().count("fsfreeze thaw")


@pytest.fixture
def dead_ceph(site):
    """Cuts the node crossover runs on from its Ceph, so that snapshots hang; the guest's own node is not cut."""
    cut = []

    def begin():
        site.run(EAST, "ip", "route", "add", "blackhole", f"{CEPH}/32")
        cut.append(1)

    def end():
        if cut:
            cut.clear()
            site.run(EAST, "ip", "route", "del", "blackhole", f"{CEPH}/32")
    begin.end = end
    yield begin
    end()


def one_moment(site, report):
    point = site.check_equal(report)
    a, b = site.counters(WEST, [disk["replica_image"] for disk in report["disks"]], point)
    assert a > 0 and 0 <= a - b <= 1
    return a


def test_no_agent_is_paused(site, counter, job):
    """All disks of one moment, time and again."""
    with configured(site, counter, without_agent) as config:
        counted = 0
        for _ in range(3):
            report = site.mirrored(f"100:{TARGET}", "--online", job=job)
            assert report["paused"] and not report["frozen"]
            assert report["consistency"] == "paused: no guest agent is configured"
            assert 0 < report["frozen_for_ms"] < 10000 and report["warnings"] == []
            assert "pause VM 100" in report["steps"] and "resume VM 100" in report["steps"]
            goes_on(counter, config)
            now = one_moment(site, report)
            assert now > counted
            counted = now


def test_lesson_13_a_silent_agent_is_reported_and_the_policy_decides(site, silent, job):
    config = silent.config()
    report = site.mirrored(f"105:{TARGET}", "--online", job=job)
    assert report["paused"] and not report["frozen"]
    assert report["consistency"] == "paused: its agent does not answer"
    one_moment(site, report)
    goes_on(silent, config)


def test_silent_agent_fails_where_a_freeze_is_required(site, silent, job):
    config = silent.config()
    for option in ("--require-freeze", "--no-agent=fail"):
        done = site.mirror(f"105:{TARGET}", "--online", option, job=job)
        assert done.status == 1 and "VM 105" in done.complaint() and "its agent does not answer" in done.complaint()
        assert left_by(site, silent, job) == []
        goes_on(silent, config)


def test_known_lack_of_an_agent_fails_before_anything_is_changed(site, counter, job):
    with configured(site, counter, lambda config: config.replace("agent: 1\n", "agent: 1,freeze-fs=0\n")):
        with site.unchanged():
            done = site.mirror(f"100:{TARGET}", "--online", "--require-freeze", job=job)
            assert done.status == 1 and "VM 100" in done.complaint() and "freeze-fs is off" in done.complaint()


def test_crash_says_what_it_is(site, silent, job):
    report = site.mirrored(f"105:{TARGET}", "--online", "--no-agent=crash", job=job)
    assert not report["paused"] and not report["frozen"] and report["frozen_for_ms"] == 0
    assert report["consistency"] == "not frozen: its agent does not answer; its disks may differ by milliseconds"
    assert report["warnings"] == [report["consistency"]]
    site.check_equal(report)


@pytest.mark.long
def test_an_agent_whose_hook_fails(site, slow, job):
    """The agent answers with an error; `qm guest cmd` would end with 0 all the same."""
    site.destroy(NODE, 106)
    guest = site.create_counting(106, "--args", setting("interval", 40) + setting("fail-freeze", 1), node=NODE)
    try:
        site.counting(guest)
        config = guest.config()
        report = site.mirrored(f"106:{TARGET}", "--online", job=job)
        assert report["paused"] and report["consistency"].startswith("paused: ")
        assert "hook" in report["consistency"]
        one_moment(site, report)
        site.check_at_ease(guest, config)
        done = site.mirror(f"106:{TARGET}", "--online", "--require-freeze", job=job)
        assert done.status == 1 and "hook" in done.complaint()
        assert left_by(site, guest, job) == [report["recovery_point"]] * 2
        site.check_at_ease(guest, config)
    finally:
        site.destroy(NODE, 106)


def test_who_is_frozen_or_paused_by_somebody_else_stays_so(site, counter, job):
    config = counter.config()
    site.run(EAST, "qm", "guest", "cmd", "100", "fsfreeze-freeze")
    try:
        report = site.mirrored(f"100:{TARGET}", "--online", job=job)
        assert report["paused"] and "frozen already, by somebody else" in report["consistency"]
        assert counter.frozen()
        one_moment(site, report)
    finally:
        site.run(EAST, "qm", "guest", "cmd", "100", "fsfreeze-thaw")
    site.run(EAST, "qm", "suspend", "100")
    try:
        report = site.mirrored(f"100:{TARGET}", "--online", job=job)
        assert report["paused"] and report["consistency"].startswith("paused already: ")
        assert status(counter) == "paused"
        one_moment(site, report)
    finally:
        site.run(EAST, "qm", "resume", "100")
    site.check_at_ease(counter, config)


def test_a_freeze_that_takes_too_long_fails_the_guest(site, slow, job):
    """It takes four seconds to freeze."""
    config, before = slow.config(), thawed(slow)
    done = site.mirror(f"102:{TARGET}", "--online", "--freeze-timeout=2s", job=job)
    assert done.status == 1 and "not frozen within 2.0 s; it goes on again" in done.complaint()
    assert thawed(slow) > before
    assert left_by(site, slow, job) == []
    site.check_at_ease(slow, config)


def held_long(site, guest, job, dead_ceph, begun, *options):
    """A run whose snapshots hang while it holds the guest. `begun`: the guest is about to be held."""
    run = site.start_mirror(f"{guest.vmid}:{TARGET}", "--online", "--json", *options, job=job)
    wait_for(begun, 60, "it is about to be held")
    dead_ceph()
    return run


def paused_long(site, silent, job, dead_ceph, let_go, *options):
    run = held_long(site, silent, job, dead_ceph, being_paused(site), *options)
    let_go()
    wait_for(lambda: looks(silent) == "paused", 20, "it is paused")
    return run


@pytest.fixture
def busy_monitor(site, silent):
    """Somebody else has the monitor, until it is let go of: as much time as is needed to see a pause begin."""
    other = site.lab.start("exec", silent.node, "python3", "-c", OCCUPY, f"/var/run/qemu-server/{silent.vmid}.qmp",
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "in\n"

    def let_go():
        if not other.stdin.closed:
            other.stdin.close()
        other.wait(20)
    yield let_go
    let_go()
    other.stdout.close()


def being_paused(site):
    return lambda: " pause 105 " in site.try_run(NODE, "ps", "-eo", "args")


def freezing(guest):
    before = guest.console().count("fsfreeze freeze")
    return lambda: guest.console().count("fsfreeze freeze") > before


def test_a_guest_that_ceph_takes_for_dead_keeps_its_disks(site, slow, job):
    """Its QEMU stands still for longer than Ceph's watch timeout. Whoever changes an image now takes it from the guest."""
    config = slow.config()
    qemu = site.run(slow.node, "cat", f"/var/run/qemu-server/{slow.vmid}.pid").strip()
    site.run(slow.node, "kill", "-STOP", qemu)
    try:
        wait_for(lambda: all("Watchers: none" in site.run(EAST, "rbd", "status", image) for image in slow.images), 90,
                 "Ceph takes it for dead")
        done = site.mirror(f"{slow.vmid}:{TARGET}", "--online", "--json", "--retries=1", job=job)
    finally:
        site.run(slow.node, "kill", "-CONT", qemu)
    assert done.status == 1 and "the guest runs and has the image's lock" in done.complaint(), done
    slow.writes_on()
    assert left_by(site, slow, job) == []
    assert site.mirror(f"{slow.vmid}:{TARGET}", "--online", job=job).status == 0
    site.check_at_ease(slow, config)


def test_the_deadline_ends_a_freeze_though_snapshots_hang(site, slow, job, dead_ceph):
    config, before = slow.config(), thawed(slow)
    run = held_long(site, slow, job, dead_ceph, freezing(slow), "--freeze-timeout=7s")
    wait_for(lambda: thawed(slow) > before, HELD_AT_MOST, "it is thawed")
    wait_for(lambda: agent_says(slow, "thawed"), HELD_AT_MOST, "the agent says so")
    assert run.running()
    dead_ceph.end()
    done = run.wait(60)
    assert done.status == 1 and "the freeze timeout had passed" in done.guest(102)["error"]
    assert not done.guest(102)["frozen"] and done.guest(102)["recovery_point"] == ""
    assert left_by(site, slow, job) == []
    site.check_at_ease(slow, config)


def test_the_deadline_ends_a_pause_though_snapshots_hang(site, silent, job, dead_ceph, busy_monitor):
    config = silent.config()
    run = paused_long(site, silent, job, dead_ceph, busy_monitor, "--freeze-timeout=6s")
    wait_for(lambda: looks(silent) == "running", HELD_AT_MOST, "it runs again")
    assert run.running()
    dead_ceph.end()
    done = run.wait(60)
    assert done.status == 1 and "the freeze timeout had passed" in done.guest(105)["error"]
    assert left_by(site, silent, job) == []
    goes_on(silent, config)


@pytest.mark.parametrize("which", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long), pytest.param(signal.SIGINT, marks=pytest.mark.long)],
                         ids=["kill", "term", "int"])
def test_signal_while_frozen(site, slow, job, dead_ceph, which):
    """The deadline is far away: it is the end of the run that thaws."""
    config, before = slow.config(), thawed(slow)
    run = held_long(site, slow, job, dead_ceph, freezing(slow), "--freeze-timeout=5m")
    wait_for(lambda: agent_says(slow, "frozen"), 30, "it is frozen")
    run.signal(which)
    wait_for(lambda: thawed(slow) > before and agent_says(slow, "thawed"), HELD_AT_MOST, "it is thawed")
    dead_ceph.end()
    run.wait(60)
    wait_for(lambda: slow.config() == config, 30, "it is unlocked")
    mends(site, slow, config, job)


@pytest.mark.parametrize("which", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)], ids=["kill", "term"])
def test_signal_while_paused(site, silent, job, dead_ceph, busy_monitor, which):
    config = silent.config()
    run = paused_long(site, silent, job, dead_ceph, busy_monitor, "--freeze-timeout=5m")
    run.signal(which)
    wait_for(lambda: looks(silent) == "running", HELD_AT_MOST, "it runs again")
    dead_ceph.end()
    run.wait(60)
    wait_for(lambda: silent.config() == config, 30, "it is unlocked")
    mends(site, silent, config, job)


def test_lost_connection_while_frozen(site, slow, job):
    config, before = slow.config(), thawed(slow)
    begun = freezing(slow)
    run = site.start_mirror(f"102:{TARGET}", "--online", "--json", "--retries=0", "--freeze-timeout=5m",
                            job=job)
    wait_for(begun, 60, "the freeze begins")
    site.run(NODE, "pkill", "-KILL", "-f", "^sshd: root@notty")
    wait_for(lambda: thawed(slow) > before and agent_says(slow, "thawed"), HELD_AT_MOST, "it is thawed")
    done = run.wait(60)
    assert done.status == 1 and done.guest(102)["recovery_point"] == ""
    assert left_by(site, slow, job) == []
    wait_for(lambda: slow.config() == config, 30, "it is unlocked")
    mends(site, slow, config, job)


def mends(site, guest, config, job):
    """The next run makes a good point, whatever was left."""
    report = site.mirrored(f"{guest.vmid}:{TARGET}", "--online", job=job)
    one_moment(site, report)
    goes_on(guest, config)
