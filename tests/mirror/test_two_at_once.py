"""Two commands on one replica at once, on real Ceph and through real ssh: the first stands still at its worst
moment, the second runs whole, and the first goes on. Then each runs once more. `tests/interleavings` tries every
moment, in memory."""

import itertools
import json
import re
import sys

import pytest
from labtest import USERS
from mirrortest import EAST, EAST_ADDRESS, HERE, WEST, wait_for
from test_verify import rot

sys.path.append(str(HERE.parent / "faults"))
from stopping import standing  # noqa: E402

VMID, TARGET, THIRD = 161, 9161, 8161
MIB = 1 << 20
KEEPS_ALL = ("--keeplocal=1d", "--keepremote=1d")
FIRST_LINK = (f"--vmid={VMID}:{TARGET}", f"--destination={WEST}", "--pool=ceph-ssd", "--jobname=pairs", *USERS,
              "--lock-wait=1s", "--debug")
# The lab's users of each cluster are for one direction.
NEXT_LINK = (f"--vmid={TARGET}:{THIRD}", f"--destination={EAST_ADDRESS}", "--pool=ceph-ssd", "--jobname=next",
             "--accept-new-host-keys", "--lock-wait=1s", "--debug", *KEEPS_ALL)
# Where a command runs, and its words; {older} is the point before the newest.
COMMANDS = {
    "mirror": (EAST, ("mirror", *FIRST_LINK, *KEEPS_ALL)),
    "mirror that keeps one": (EAST, ("mirror", *FIRST_LINK)),
    "reseed": (EAST, ("mirror", "--reseed", *FIRST_LINK, *KEEPS_ALL)),
    "verify --repair": (EAST, ("verify", "--repair", *FIRST_LINK, *KEEPS_ALL)),
    "mirror the next link": (WEST, ("mirror", *NEXT_LINK)),
    "recover": (WEST, ("recover", str(TARGET))),
    "recover an older one": (WEST, ("recover", str(TARGET), "--point={older}")),
    "prune": (WEST, ("prune", str(TARGET), "--keepremote=last=1")),
}
REMOVES = {"mirror that keeps one", "prune", "reseed"}


WRITE = """import os, sys, rados, rbd
with rados.Rados(conffile="/etc/pve/ceph.conf") as cluster:
    for pool, name in (image.split("/") for image in sys.argv[2:]):
        with cluster.open_ioctx(pool) as ioctx, rbd.Image(ioctx, name) as image:
            image.write(os.urandom(4096), int(sys.argv[1]))
"""


@pytest.fixture
def pair(site, still):
    site.destroy(EAST, THIRD)
    yield Pair(site, still(VMID, targets=(TARGET,), disks=("ceph-ssd", "ceph_hdd.x"), megabytes=8))
    site.destroy(EAST, THIRD)


class Pair:
    """A guest, written to since, with a replica that has two points."""

    def __init__(self, site, guest):
        self.site, self.guest = site, guest
        self.offsets = itertools.count(0, MIB // 2)
        self.older = ""
        self.moments = []  # what the replica's points hold, or held
        site.open_the_way_back()
        for _ in range(2):
            self.write()
            self.must("mirror")
        self.older = min(self.points())
        self.write()

    def write(self):
        self.site.run(EAST, "/usr/bin/python3", "-c", WRITE, str(next(self.offsets)), *self.guest.images)

    def words(self, command):
        node, words = COMMANDS[command]
        return node, tuple(word.replace("{older}", self.older) for word in words)

    def run(self, command):
        node, words = self.words(command)
        return self.site.crossover(*words, node=node, seconds=180)

    def must(self, command):
        done = self.run(command)
        assert done.status == 0, done

    # --- what is there

    def contents(self, vmid, node):
        return json.loads(self.site.run(node, "/usr/bin/python3", str(HERE / "contents.py"), str(vmid)))

    def points(self, vmid=TARGET, node=WEST):
        """The complete points of a replica, and what they hold."""
        held, found = self.contents(vmid, node), {}
        for image, state in self.site.images(node).items():
            for key, value in state["meta"].items() if f"/vm-{vmid}-" in image else ():
                if key.startswith("crossover.config."):
                    point = key.removeprefix("crossover.config.")
                    found[point] = {one: held.get(one, {}).get(point) for one in json.loads(value)["images"]}
        found = {point: images for point, images in found.items() if all(images.values())}
        if vmid == TARGET:
            self.moments += [sorted(images.values()) for images in found.values()]
        return found

    def promotions(self):
        return [json.loads(state["meta"]["crossover.promotion"]) for image, state in self.site.images(WEST).items()
                if f"/vm-{TARGET}-" in image and "crossover.promotion" in state["meta"]]

    def leases(self):
        """Who has the guest's lease: one line for each disk of the guest and of its replica that somebody has."""
        found = []
        for node, vmid in ((EAST, VMID), (WEST, TARGET)):
            for image, state in self.site.images(node).items():
                if f"/vm-{vmid}-" in image:
                    found += json.loads(self.site.run(
                        node, "rados", "--pool", image.split("/")[0], "--format", "json", "lock", "info",
                        f"rbd_header.{state['id']}", "crossover.run"))["lockers"]
        return found

    # --- what must hold

    def check(self, before, removes):
        now = self.points()
        for point, images in before.items():
            assert point in now or (removes and max(now) >= max(before)), (point, before, now)
            assert now.get(point, images) == images or removes and max(now) > point, (point, before, now)
        for point, images in self.points(THIRD, EAST).items():
            assert sorted(images.values()) in self.moments, f"{point} over there is no moment of the replica's"
        assert "lock" not in self.guest.config()

    def check_recovered(self):
        promotions = self.promotions()
        assert len(promotions) == 2 and all(one["done"] for one in promotions), promotions
        point = self.points()[promotions[0]["point"]]
        heads = self.contents(TARGET, WEST)
        assert {image: heads[image][""] for image in point} == point, "it does not hold what it was recovered at"
        assert "lock" not in self.site.config(WEST, TARGET)


def has_name(done):
    """It ended well, or in a conflict or a reason that says what to do."""
    said = re.search("again|is locked|has no recovery point", done.err)
    return done.status in (0, 3) or done.status == 1 and said


def long(*values):
    return pytest.param(*values, marks=pytest.mark.long)


# Who stands still, having said that; who meets it; and whether the first one's lease is kept.
MEETINGS = [
    long("mirror", "debug: lock VM", "recover", True),
    long("mirror", "debug: send", "recover", True),
    long("mirror", "debug: send", "recover", False),
    long("mirror", "debug: send", "mirror", False),
    long("mirror", "debug: send", "mirror the next link", True),
    long("mirror the next link", "debug: make the snapshot", "mirror", True),
    ("mirror the next link", "debug: send", "mirror", True),
    long("mirror the next link", "debug: send", "mirror", False),
    ("recover an older one", " - record on", "mirror that keeps one", True),
    long("recover an older one", " - record on", "prune", True),
    long("recover an older one", " - lock VM", "prune", True),
    ("prune", "Housekeeping", "recover an older one", True),
    long("mirror that keeps one", "debug: make the recovery point", "recover an older one", False),
    long("mirror that keeps one", "debug: remove destination", "recover an older one", True),
    long("verify --repair", "debug: lock VM", "recover", True),
    long("verify --repair", "debug: send", "recover", False),
    ("reseed", "debug: move", "mirror the next link", True),
    long("reseed", "debug: move", "mirror", False),
    long("mirror the next link", "debug: send", "reseed", True),
]


@pytest.mark.parametrize("first,moment,second,lease_is_kept", MEETINGS)
def test_two_at_once(pair, first, moment, second, lease_is_kept):
    if "mirror the next link" in (first, second):
        pair.must("mirror the next link")
    if first == "verify --repair":
        rot(pair.site, min(pair.contents(TARGET, WEST)), MIB, "rotten")
    before = pair.points()
    removes = bool({first, second} & REMOVES)
    node, words = pair.words(first)
    with standing(pair.site, words, moment, node=node) as run:
        if not lease_is_kept:
            assert pair.leases()
            wait_for(lambda: not pair.leases(), 90, "the lease runs out")
        done = [(second, pair.run(second)), (first, run.go_on())]
    print([(name, one.status, one.err) for name, one in done])
    assert all(one.status in (0, 1, 3) for _, one in done), done
    pair.check(before, removes)
    recovered = any(name.startswith("recover") and one.status == 0 for name, one in done)
    if recovered:
        pair.check_recovered()
    again = [pair.run(name) for name in (first, second)]
    print([(one.status, one.err) for one in again])
    assert all(has_name(one) for one in again) and any(one.status == 0 for one in again), again
    pair.check(before, removes)
    if recovered:
        pair.check_recovered()
    assert not pair.leases()


@pytest.mark.long
def test_somebody_elses_lock_stays(pair):
    """It stands still until its own is given back; the one that has come since is not its to take off."""
    with standing(pair.site, pair.words("mirror")[1], "debug: make the snapshot") as run:
        wait_for(lambda: "lock" not in pair.guest.config() and not pair.leases(), 90, "lock and lease are gone")
        pair.site.run(EAST, "qm", "set", str(VMID), "--lock", "backup")
        done = run.go_on()
    assert done.status == 1 and "lease" in done.err, done
    assert "lock: backup\n" in pair.guest.config()
    pair.site.run(EAST, "qm", "unlock", str(VMID))
    pair.must("mirror")
