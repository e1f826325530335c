"""Cycles of mirroring guests that write all the time, with faults between."""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from mirrortest import EAST, WEST, running_lab, seed

JOB = "soak"
FROZEN, PAUSED = (100, 9100), (103, 9103)
KEEP_REMOTE, KEEP_LOCAL = 5, 2
RUN = ("mirror", ",".join(f"{one}:{target}" for one, target in (FROZEN, PAUSED)), f"--keepremote=last={KEEP_REMOTE}",
       f"--keeplocal=last={KEEP_LOCAL}", "--online", "--json", "--stall-timeout=15s")
FAULTS = ("tool", "agents", "link", "osd")


class Soak:
    def __init__(self, site, seed):
        self.site, self.random, self.seed = site, random.Random(seed), seed
        self.counted = {}
        self.faults = {"hit": 0, "missed": 0}

    def prepare(self):
        self.site.short_watch_timeouts()
        for (vmid, _), words in ((FROZEN, ()), (PAUSED, ("--agent", "0"))):
            if not self.site.try_run(EAST, "cat", f"/etc/pve/qemu-server/{vmid}.conf"):
                guest = self.site.create_counting(vmid, "--name", f"soak{vmid}", *words)
                while not guest.counted():
                    time.sleep(1)

    def start(self, *options):
        return self.site.start_mirror(RUN[1], *RUN[2:], *options, job=JOB)

    # --- faults

    def run_with_fault(self):
        fault, moment = self.random.choice(FAULTS), self.random.uniform(0.2, 6)
        self.site.lab("net", "limit", "10mbit")
        run = self.start("--retries=1")
        time.sleep(moment)  # the fault comes at any moment
        try:
            hit = getattr(self, fault)(run)
        finally:
            self.site.lab("net", "unlimit")
        done = run.wait(200)
        self.faults["hit" if hit else "missed"] += 1
        return f"{fault} after {moment:.1f} s ({done.status}{'' if hit else ', it was over before'})"

    def tool(self, run):
        try:
            run.signal(signal.SIGKILL)
        except AssertionError:  # it had ended this very moment
            return False
        return True

    def agents(self, run):
        pids = self.site.try_run(WEST, "pgrep", "-x", "crossover").split()
        if not pids:
            return False
        return self.site.lab("exec", WEST, "kill", "-9", *pids, check=False).returncode == 0

    def link(self, run):
        self.site.lab("net", "cut")
        hit = run.running()
        time.sleep(self.random.uniform(1, 6))  # the fault's length
        self.site.lab("net", "restore")
        return hit

    def osd(self, run):
        pids = self.site.run("storage-west", "pgrep", "-x", "ceph-osd").split()
        self.site.run("storage-west", "kill", "-STOP", *pids)
        hit = bool(pids) and run.running()
        time.sleep(self.random.uniform(1, 6))  # the fault's length
        self.site.run("storage-west", "kill", "-CONT", *pids)
        return hit

    # --- what has to hold

    def points(self, target):
        """Complete points of a replica and the images they are of."""
        found = {}
        for name, image in self.site.images(WEST).items():
            if f"/vm-{target}-" not in name:
                continue
            for key, value in image["meta"].items():
                if key.startswith("crossover.config."):
                    found[key.removeprefix("crossover.config.")] = json.loads(value)["images"]
        return found

    def check(self, guest, before):
        vmid, target, new = guest["vmid"], guest["target_vmid"], guest["recovery_point"]
        made = {new} | ({guest["resumed"]["recovery_point"]} if guest["resumed"] else set())
        points = self.points(target)
        assert sorted(points) == sorted(set(before) | made)[-KEEP_REMOTE:], (sorted(points), sorted(before), made)
        for disk in guest["disks"]:
            ours = [name for name in self.site.snapshots(WEST, disk["replica_image"]) if name.startswith(f"crossover-{JOB}-")]
            assert ours == sorted(points), (disk["replica_image"], ours)
        self.check_source(guest, points)
        assert guest["frozen"] == (vmid == FROZEN[0]) and guest["paused"] == (vmid == PAUSED[0]), guest["consistency"]
        images = [disk["replica_image"] for disk in guest["disks"]]
        if guest["frozen"]:
            for image in images:
                self.check_file_system(f"{image}@{new}")
        counted = self.site.counters(WEST, images, new)
        assert 0 <= counted[0] - counted[1] <= 1, counted
        assert counted >= self.counted.get(vmid, (0, 0)), (counted, self.counted)
        self.counted[vmid] = counted

    def check_source(self, guest, points):
        """The newest moments that all disks have, one among them perhaps that a killed run made and never sent."""
        kept = [[name for name in self.site.snapshots(EAST, disk["source_image"]) if name.startswith(f"crossover-{JOB}-")]
                for disk in guest["disks"]]
        assert all(of_disk == kept[0] for of_disk in kept), kept
        assert min(KEEP_LOCAL, len(points)) <= len(kept[0]) <= KEEP_LOCAL, kept[0]
        assert kept[0][-1] == guest["recovery_point"], kept[0]
        assert not {name for name in points if name > kept[0][0]} - set(kept[0]), (sorted(points), kept[0])

    def check_file_system(self, snapshot):
        script = ('set -e; work=$(mktemp -d); trap \'rm -rf "$work"\' EXIT; rbd export --no-progress "$0" "$work/disk"; '
                  'e2fsck -fn "$work/disk"')
        self.site.run(WEST, "bash", "-c", script, snapshot)

    def cycle(self, number):
        self.random.seed(f"{self.seed} {number}")
        said = self.run_with_fault() if self.random.random() < 0.4 else "no fault"
        before = {target: self.points(target) for _, target in (FROZEN, PAUSED)}
        done = self.start().wait(300)
        assert done.status == 0, done
        guests = done.report()["guests"]
        assert sorted(guest["vmid"] for guest in guests) == [FROZEN[0], PAUSED[0]], guests
        for guest in guests:
            assert len(guest["disks"]) == 2, guest
            self.check(guest, before[guest["target_vmid"]])
        return said


def main(words=None):
    parser = argparse.ArgumentParser(prog="tests/soak/run", description="Mirrors two guests that write all the time, again "
                                     "and again, with faults between. See tests/soak/README.md.")
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
            print(f"cycle {number:3} of {options.cycles}, seed {options.seed}: {said}; {time.monotonic() - begin:.0f} s, "
                  f"counted {soak.counted}", flush=True)
            if options.state:
                options.state.write_text(json.dumps({"done": number, "counted": soak.counted}))
    faults = soak.faults
    print(f"{options.cycles} cycles done, {faults['hit']} faults hit a run, {faults['missed']} came too late", flush=True)
    if faults["missed"] > faults["hit"]:
        print("most faults came too late: what this was to show it has not shown", flush=True)
        return 1
    return 0
