"""Two commands on one guest at once, one of which moves it: the first stands still at its worst moment, or waits
for an answer, the second runs whole, and the first goes on. The guest never runs twice, and ends in one place."""

import sys

import pytest
from labtest import USERS
from migratetest import TARGET, VMID
from mirrortest import EAST, EAST_ADDRESS, HERE, WEST, wait_for

sys.path.append(str(HERE.parent / "faults"))
from stopping import asking, standing  # noqa: E402

ELSEWHERE = 9250
THERE = ("mirror", f"--destination={WEST}", "--pool=ceph-ssd", *USERS, "--lock-wait=1s", "--debug")
MOVE = ("--migrate", "--force-stop", "--shutdown-timeout=1s")
MIGRATE = (*THERE, *MOVE, f"--vmid={VMID}:{TARGET}", "--jobname=move")
MIGRATE_ELSEWHERE = (*THERE, *MOVE, f"--vmid={VMID}:{ELSEWHERE}", "--jobname=elsewhere", "--noconfirm")
MIRROR = (*THERE, f"--vmid={VMID}:{TARGET}", "--jobname=move", "--online")
# The lab's users of each cluster are for one direction.
BACK = ("mirror", *MOVE, f"--vmid={TARGET}:{VMID}", f"--destination={EAST_ADDRESS}", "--pool=ceph-ssd",
        "--jobname=back", "--accept-new-host-keys", "--lock-wait=1s", "--debug", "--noconfirm")
CLEAN_UP = ("cleanup-source", str(VMID))
PLACES = ((EAST, VMID), (WEST, TARGET), (WEST, ELSEWHERE))


@pytest.fixture
def mover(site):
    """A guest that runs, with something on its disks."""
    site.destroy(WEST, ELSEWHERE)
    guest = site.create(VMID, disks=("ceph-ssd", "ceph_hdd.x"))
    for image in guest.images:
        site.run(EAST, "rbd", "bench", "--io-type", "write", "--io-size", "65536", "--io-total", "1M", image)
    site.run(EAST, "qm", "start", str(VMID))
    yield guest
    site.destroy(WEST, ELSEWHERE)


def running(site):
    return [(node, vmid) for node, vmid in PLACES
            if site.try_run(node, "qm", "status", str(vmid)).strip() not in ("", "status: stopped")]


def startable(site):
    """Where the guest is, by its locks and by what is promoted: a replica that nobody recovered is none."""
    def is_its(node, vmid):
        config = site.try_run(node, "cat", f"/etc/pve/nodes/{node}/qemu-server/{vmid}.conf")
        promoted = any(f"/vm-{vmid}-" in image and '"done":true' in state["meta"].get("crossover.promotion", "")
                       for image, state in site.images(node).items())
        return config and "\nlock:" not in config and (promoted or vmid == VMID)
    return [(node, vmid) for node, vmid in PLACES if is_its(node, vmid)]


def check_at(site, place, runs=True):
    assert running(site) == ([place] if runs else [])
    assert startable(site) == [place]


def leases(site, images):
    return [image for image in images if '"lockers":[{' in site.run(
        EAST, "rados", "--pool", image.split("/")[0], "--format", "json", "lock", "info",
        f"rbd_header.{site.images(EAST)[image]['id']}", "crossover.run")]


def test_it_waits_for_an_answer_while_another_moves_the_guest_elsewhere(site, mover):
    with asking(site, MIGRATE) as say_yes:
        moved = site.crossover(*MIGRATE_ELSEWHERE, seconds=180)
        assert moved.status == 0, moved
        with site.unchanged():
            done = say_yes()
    assert done.status == 3 and f"migrated to VM {ELSEWHERE} already" in done.err, done
    check_at(site, (WEST, ELSEWHERE))
    again = site.crossover(*MIGRATE_ELSEWHERE)
    assert again.status == 3 and "cleanup-source" in again.err, again
    check_at(site, (WEST, ELSEWHERE))


def test_it_waits_for_an_answer_while_the_same_command_leaves_the_guest_off(site, mover):
    with asking(site, (*MIGRATE, "--no-start")) as say_yes:
        moved = site.crossover(*MIGRATE, "--no-start", "--noconfirm", seconds=180)
        assert moved.status == 0, moved
        with site.unchanged():
            done = say_yes()
    assert done.status == 3 and f"migrated to VM {TARGET} already" in done.err, done
    check_at(site, (WEST, TARGET), runs=False)
    again = site.crossover(*MIGRATE, "--no-start", "--noconfirm")
    assert again.status == 3, again
    check_at(site, (WEST, TARGET), runs=False)


@pytest.mark.long
@pytest.mark.parametrize("moment", ["shutting it down on", "it is down and fenced",
                                    "debug: make the recovery point"])
def test_the_same_command_twice_once_the_lease_ran_out(site, mover, moment):
    """The second goes on where the first stands still, and leaves the guest off: nothing brings it up again."""
    words = (*MIGRATE, "--no-start", "--noconfirm")
    with standing(site, words, moment) as run:
        wait_for(lambda: not leases(site, mover.images), 90, "the lease runs out")
        moved = site.crossover(*words, seconds=240)
        assert moved.status == 0, moved
        done = run.go_on()
    assert done.status in (1, 3), done
    check_at(site, (WEST, TARGET), runs=False)
    again = site.crossover(*words)
    assert again.status == 3 and "cleanup-source" in again.err, again
    check_at(site, (WEST, TARGET), runs=False)


@pytest.mark.long
def test_the_same_command_twice_while_the_lease_is_kept(site, mover):
    words = (*MIGRATE, "--noconfirm")
    with standing(site, words, "it is down and fenced") as run:
        other = site.crossover(*words)
        assert other.status == 1 and "another run is at it" in other.err, other
        done = run.go_on()
    assert done.status == 0, done
    check_at(site, (WEST, TARGET))


@pytest.mark.long
@pytest.mark.parametrize("moment", ["it is down and fenced", f"starting VM {VMID}"])
def test_it_goes_back_while_its_old_job_runs(site, mover, moment):
    moved = site.crossover(*MIGRATE, "--noconfirm", seconds=180)
    assert moved.status == 0, moved
    with standing(site, BACK, moment, node=WEST) as run:
        other = site.crossover(*MIRROR)
        assert other.status in (1, 3), other
        done = run.go_on()
    assert done.status == 0, done
    check_at(site, (EAST, VMID))
    again = site.crossover(*MIRROR, seconds=180)
    assert again.status in (0, 3), again
    check_at(site, (EAST, VMID))


@pytest.mark.parametrize("options", [
    ("--no-start",),
    pytest.param((), marks=pytest.mark.long)])
def test_it_goes_back_while_what_is_left_of_it_is_about_to_be_removed(site, mover, options):
    moved = site.crossover(*MIGRATE, "--noconfirm", *options, seconds=180)
    assert moved.status == 0, moved
    with standing(site, (*CLEAN_UP, "--noconfirm"), "destroy it, with") as run:
        back = site.crossover(*BACK, *options, node=WEST, seconds=180)
        done = run.go_on()
    assert (back.status == 0) != (done.status == 0), (back, done)
    where = (EAST, VMID) if back.status == 0 else (WEST, TARGET)
    check_at(site, where, runs=not options)


@pytest.mark.long
def test_it_goes_back_while_a_person_is_asked_whether_to_remove_the_rest(site, mover):
    moved = site.crossover(*MIGRATE, "--noconfirm", "--no-start", seconds=180)
    assert moved.status == 0, moved
    with asking(site, CLEAN_UP) as say_yes:
        back = site.crossover(*BACK, "--no-start", node=WEST, seconds=180)
        assert back.status == 0, back
        with site.unchanged():
            done = say_yes()
    assert done.status == 3, done
    check_at(site, (EAST, VMID), runs=False)


@pytest.mark.long
def test_it_is_back_and_what_it_left_is_recovered(site, mover):
    for words, node in (((*MIGRATE, "--noconfirm", "--no-start"), EAST), ((*BACK, "--no-start"), WEST)):
        moved = site.crossover(*words, node=node, seconds=180)
        assert moved.status == 0, moved
    site.crossover("recover", str(TARGET), node=WEST)
    check_at(site, (EAST, VMID), runs=False)
