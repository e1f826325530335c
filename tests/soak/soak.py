"""Cycles of mirroring guests that write all the time, and a replica on to a third place, with faults between."""

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from mirrortest import EAST, EAST_ADDRESS, WEST, running_lab, seed

FROZEN, PAUSED = (100, 9100), (103, 9103)
KEEP_REMOTE, KEEP_LOCAL = 5, 2
RUN = (f"--keepremote=last={KEEP_REMOTE}", f"--keeplocal=last={KEEP_LOCAL}", "--online", "--json",
       "--stall-timeout=15s")
FAULTS = ("tool", "agents", "link", "osd")


@dataclasses.dataclass(eq=False)
class Link:
    """Of the chain: a job, and from where to where it mirrors which guests."""
    job: str
    source: str
    destination: str
    storage: str  # where the destination's OSDs are
    guests: tuple
    rate: str  # of the net while a fault is made
    seconds: float  # how late the fault may come, which is about as long as a run takes then
    options: tuple = ()
    where: dict = dataclasses.field(default_factory=dict)

    def snapshots(self, site, node, image):
        return [name for name in site.snapshots(node, image) if name.startswith(f"crossover-{self.job}-")]


FIRST = Link("soak", EAST, WEST, "storage-west", (FROZEN, PAUSED), "10mbit", 6)
# The lab's users of each cluster are for one direction.
NEXT = Link("next", WEST, EAST, "storage-east", ((FROZEN[1], 8100),), "4mbit", 6, ("--accept-new-host-keys",),
            {"destination": EAST_ADDRESS, "users": ()})
LINKS = (FIRST, NEXT)
AT_ONCE = "at once"
# What comes before the runs that have to end well: a fault in a run of a link, or one of each. Each three have all.
DISTURBANCES = (*LINKS, AT_ONCE)


def disturbance(seed, number):
    """That of a cycle: the seed puts each three in order, and at first there is nothing that could be sent on."""
    which, place = divmod(number - 1, len(DISTURBANCES))
    order = list(DISTURBANCES)
    random.Random(f"{seed} three {which}").shuffle(order)
    if which == 0:
        order.sort(key=lambda one: one is not FIRST)
    return order[place]


class Soak:
    def __init__(self, site, seed):
        self.site, self.random, self.seed = site, random.Random(seed), seed
        self.counted = {}
        self.done = collections.Counter()

    def prepare(self):
        self.site.short_watch_timeouts()
        self.site.open_the_way_back()
        for (vmid, _), words in ((FROZEN, ()), (PAUSED, ("--agent", "0"))):
            if not self.site.try_run(EAST, "cat", f"/etc/pve/qemu-server/{vmid}.conf"):
                guest = self.site.create_counting(vmid, "--name", f"soak{vmid}", *words)
                while not guest.counted():
                    time.sleep(1)

    def start(self, link, *options):
        self.done[f"runs of {link.job}"] += 1
        vmids = ",".join(f"{one}:{target}" for one, target in link.guests)
        return self.site.start_mirror(vmids, *RUN, *link.options, *options, job=link.job, node=link.source,
                                      **link.where)

    # --- what comes between

    def disturb(self, what):
        if what is not FIRST:  # so that there is something new to send on
            self.run_well(FIRST)
        with self.nothing_lost():
            return self.run_both() if what is AT_ONCE else self.run_with_fault(what)

    def run_both(self):
        """One of each link, from about the same moment on. Either may have to wait, or to give way."""
        order = self.random.sample(LINKS, len(LINKS))
        target = FROZEN[1]
        begin = self.points(FIRST, target)
        running = {order[0]: self.start(order[0])}
        time.sleep(self.random.choice((0, self.random.uniform(0, 1.5))))  # they meet at any moment
        running[order[1]] = self.start(order[1])
        met = running[order[0]].running()
        ended = {link: self.ended(run.wait(300)) for link, run in running.items()}
        for guest in ended[NEXT]:
            if guest["outcome"] == "ok":
                end = self.points(FIRST, target)
                self.check_sent_on(guest, {max(begin), max(end)} & set(end))
        gave_way = [guest["conflict"] or guest["error_code"] for guests in ended.values() for guest in guests
                    if guest["outcome"] != "ok"]
        self.done["at once" if met else "one after the other"] += 1
        self.done["gave way"] += bool(gave_way)
        return f"{order[0].job} and {order[1].job} at once" + "".join(f", {why}" for why in gave_way)

    @staticmethod
    def ended(done):
        """The reports of a run that ended well, or in what has a name."""
        guests = done.report()["guests"]
        assert guests, done
        for guest in guests:
            assert guest["outcome"] == "ok" or guest["conflict"] or guest["error_code"] == "locked", done
        return guests

    def run_with_fault(self, link):
        fault, moment = self.random.choice(FAULTS), self.random.uniform(0.2, link.seconds)
        self.site.lab("net", "limit", link.rate)
        run = self.start(link, "--retries=1")
        time.sleep(moment)  # the fault comes at any moment
        try:
            hit = getattr(self, fault)(link, run)
        finally:
            self.site.lab("net", "unlimit")
        done = run.wait(200)
        self.done[f"{fault} in {link.job}" if hit else "missed"] += 1
        return f"{fault} in {link.job} after {moment:.1f} s ({done.status}{'' if hit else ', it was over before'})"

    def tool(self, _, run):
        try:
            run.signal(signal.SIGKILL)
        except AssertionError:  # it had ended this very moment
            return False
        return True

    def agents(self, link, _):
        pids = self.site.try_run(link.destination, "pgrep", "-x", "crossover").split()
        if not pids:
            return False
        return self.site.lab("exec", link.destination, "kill", "-9", *pids, check=False).returncode == 0

    def link(self, _, run):
        self.site.lab("net", "cut")
        hit = run.running()
        time.sleep(self.random.uniform(1, 6))  # the fault's length
        self.site.lab("net", "restore")
        return hit

    def osd(self, link, run):
        pids = self.site.run(link.storage, "pgrep", "-x", "ceph-osd").split()
        self.site.run(link.storage, "kill", "-STOP", *pids)
        hit = bool(pids) and run.running()
        time.sleep(self.random.uniform(1, 6))  # the fault's length
        self.site.run(link.storage, "kill", "-CONT", *pids)
        return hit

    # --- what has to hold

    def points(self, link, target, images=None):
        """Complete points of a replica, each with the snapshots that it is: [(image, id)]."""
        images, found = images or self.site.images(link.destination), {}
        ids = {(image, name): one for image, state in images.items() for one, name, _ in state["snapshots"]}
        for image, state in images.items():
            for key, value in state["meta"].items() if f"/vm-{target}-" in image else ():
                if key.startswith("crossover.config."):
                    point = key.removeprefix("crossover.config.")
                    found[point] = [(one, ids.get((one, point))) for one in json.loads(value)["images"]]
        return {point: snapshots for point, snapshots in found.items() if all(one for _, one in snapshots)}

    @contextlib.contextmanager
    def nothing_lost(self):
        """What was a point is one afterwards, of the same snapshots, unless newer ones took its place."""
        def all_points():
            images = {link: self.site.images(link.destination) for link in LINKS}
            return {target: self.points(link, target, images[link]) for link in LINKS for _, target in link.guests}
        before = all_points()
        yield
        for target, now in all_points().items():
            assert len(now) >= min(KEEP_REMOTE, len(before[target])), (before, now)
            for point, snapshots in before[target].items():
                assert now.get(point, snapshots) == snapshots, (point, before, now)
                assert point in now or point < min(now), (point, before, now)

    def check(self, link, guest, before):
        vmid, target, new = guest["vmid"], guest["target_vmid"], guest["recovery_point"]
        made = {new} | ({guest["resumed"]["recovery_point"]} if guest["resumed"] else set())
        points = self.points(link, target)
        assert sorted(points) == sorted(set(before) | made)[-KEEP_REMOTE:], (sorted(points), sorted(before), made)
        assert len(guest["disks"]) == 2, guest
        for disk in guest["disks"]:
            ours = link.snapshots(self.site, link.destination, disk["replica_image"])
            assert ours == sorted(points), (disk["replica_image"], ours)
        self.check_source(link, guest, points)
        assert (guest["frozen"], guest["paused"]) == (vmid == FROZEN[0], vmid == PAUSED[0]), guest["consistency"]
        images = [disk["replica_image"] for disk in guest["disks"]]
        if guest["frozen"]:
            for image in images:
                self.check_file_system(f"{image}@{new}")
        counted = self.site.counters(link.destination, images, new)
        assert 0 <= counted[0] - counted[1] <= 1, counted
        assert counted >= self.counted.get(vmid, (0, 0)), (counted, self.counted)
        self.counted[vmid] = counted

    def check_source(self, link, guest, points):
        """The newest moments that all disks have, one among them perhaps that a killed run made and never sent."""
        kept = [link.snapshots(self.site, link.source, disk["source_image"]) for disk in guest["disks"]]
        assert all(of_disk == kept[0] for of_disk in kept), kept
        assert min(KEEP_LOCAL, len(points)) <= len(kept[0]) <= KEEP_LOCAL, kept[0]
        assert kept[0][-1] == guest["recovery_point"], kept[0]
        assert not {name for name in points if name > kept[0][0]} - set(kept[0]), (sorted(points), kept[0])

    def check_sent_on(self, guest, points):
        """The third place's new point is one of these of the second's, on every disk."""
        def held(node, which, point):
            return [self.site.digest(node, disk[which], point) for disk in guest["disks"]]
        here = held(NEXT.destination, "replica_image", guest["recovery_point"])
        assert here in [held(NEXT.source, "source_image", point) for point in points], (guest, points)
        self.done["points sent on"] += 1

    def check_file_system(self, snapshot):
        script = ('set -e; work=$(mktemp -d); trap \'rm -rf "$work"\' EXIT; '
                  'rbd export --no-progress "$0" "$work/disk"; e2fsck -fn "$work/disk"')
        self.site.run(WEST, "bash", "-c", script, snapshot)

    def run_well(self, link):
        before = {target: self.points(link, target) for _, target in link.guests}
        with self.nothing_lost():
            done = self.start(link).wait(300)
        assert done.status == 0, done
        guests = done.report()["guests"]
        assert sorted((guest["vmid"], guest["target_vmid"]) for guest in guests) == sorted(link.guests), guests
        for guest in guests:
            self.check(link, guest, before[guest["target_vmid"]])
            if link is NEXT:
                self.check_sent_on(guest, {max(self.points(FIRST, guest["vmid"]))})

    def cycle(self, number):
        self.random.seed(f"{self.seed} {number}")
        said = self.disturb(disturbance(self.seed, number))
        for link in LINKS:
            self.run_well(link)
        self.done["cycles"] += 1
        return said

    def missing(self):
        """What this was to show and has not shown."""
        hit = {link: sum(self.done[f"{fault} in {link.job}"] for fault in FAULTS) for link in LINKS}
        if self.done["missed"] > sum(hit.values()):
            yield "most faults came too late"
        if self.done["points sent on"] < self.done["cycles"] or not self.done["cycles"]:
            yield "not every cycle sent a point on"
        if self.done["cycles"] >= 2 * len(DISTURBANCES):
            yield from (f"no fault hit a run of {link.job}" for link, hits in hit.items() if not hits)
            if not self.done["at once"]:
                yield "no two runs met"


def main(words=None):
    parser = argparse.ArgumentParser(prog="tests/soak/run", description="Mirrors two guests that write all the "
                                     "time, again and again, and one of them on, with faults between: README.md.")
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=seed, default=0, help="a number, or `commit`")
    parser.add_argument("--state", type=Path, help="remember how far it came, in this file")
    options = parser.parse_args(words)
    if options.state and "CROSSOVER_LAB_STATE" not in os.environ:
        parser.error("--state needs a lab that stays: CROSSOVER_LAB_STATE")
    state = {"done": 0, "counted": {}}
    if options.state and options.state.exists():
        state = json.loads(options.state.read_text())
    with tempfile.TemporaryDirectory() as folder, running_lab(folder) as site:
        soak = Soak(site, options.seed)
        soak.counted = {int(vmid): tuple(counted) for vmid, counted in state["counted"].items()}
        soak.prepare()
        for number in range(state["done"] + 1, options.cycles + 1):
            begin = time.monotonic()
            said = soak.cycle(number)
            print(f"cycle {number:3} of {options.cycles}, seed {options.seed}: {said}; "
                  f"{time.monotonic() - begin:.0f} s, counted {soak.counted}", flush=True)
            if options.state:
                options.state.write_text(json.dumps({"done": number, "counted": soak.counted}))
    print(", ".join(f"{count} {what}" for what, count in sorted(soak.done.items())), flush=True)
    missing = list(soak.missing())
    for what in missing:
        print(f"{what}: what this was to show it has not shown", flush=True)
    return 1 if missing else 0
