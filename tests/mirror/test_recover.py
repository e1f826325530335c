"""The source is out of reach: what the destination does alone with a replica, and what the source hears afterwards."""

import json
import re

import pytest
from mirrortest import EAST, WEST, wait_for
from test_interrupted import in_transfer

TARGET = 9102


@pytest.fixture
def job(site, request):
    yield re.sub(r"\W|_|test", "", request.node.name)[:13]
    site.destroy(WEST, TARGET)


def points(site):
    done = site.crossover("points", str(TARGET), "--json", node=WEST)
    assert done.status == 0, done
    return json.loads(done.out)


def boots(site):
    """How often the replica's guest said that it counts, on the console of the node it is on."""
    return len(re.findall(r"(?m)^counter A=(\d+) ", site.try_run(WEST, "cat", f"/var/run/qemu-server/{TARGET}.console.log")))


def test_a_cut_replica_comes_up_without_its_source(site, counter, job):
    config = counter.config()
    site.mirrored(f"100:{TARGET}", "--online", job=job)
    counter.writes_on()
    good = site.mirrored(f"100:{TARGET}", "--online", "--keeplocal=1d", "--keepremote=1d", job=job)
    images = [disk["replica_image"] for disk in good["disks"]]
    point = good["recovery_point"]
    counted = site.counters(WEST, images, point)
    assert 0 <= counted[0] - counted[1] <= 1
    counter.writes_on()

    # The link goes in the middle of a transfer, and does not come back.
    run = in_transfer(site, counter, job, "--keeplocal=1d", "--keepremote=1d")
    site.lab("net", "cut")
    assert "VM is locked (migrate)" in site.lab("exec", WEST, "qm", "start", str(TARGET), check=False).stderr
    before = points(site)
    assert before["unfinished"] and before["lock"] == "migrate" and before["source_vmid"] == 100
    newest, second = before["points"][:2]
    assert newest["name"] == before["applying"] and not newest["complete"]
    assert (second["name"], second["complete"], second["bad"]) == (point, True, False)
    assert [disk["image"] for disk in second["disks"]] == images

    shown = site.crossover("points", str(TARGET), node=WEST)
    assert point in shown.out and "incomplete: its transfer is not finished" in shown.out and shown.status == 0

    # The agent that was cut off still has the images: it is waited for.
    done = site.crossover("recover", str(TARGET), "--start", node=WEST, seconds=180)
    assert done.status == 0, done
    assert f"is at {point}; it is running" in done.out
    after = site.config(WEST, TARGET)
    assert "lock:" not in after and "onboot" not in after
    wait_for(lambda: boots(site) > 0, 120, "the recovered guest counts")
    first = re.findall(r"(?m)^counter A=(\d+) ", site.run(WEST, "cat", f"/var/run/qemu-server/{TARGET}.console.log"))[0]
    assert int(first) >= counted[1], "it goes on from where the point was"
    state = points(site)
    assert state["promoted"]["point"] == point and state["promoted"]["done"] and state["running"]

    # The source comes back, and is refused whether the guest runs here or not.
    run.wait(120)
    site.lab("net", "restore")
    site.lab("net", "unlimit")
    counter.writes_on()
    for power in ("start", "stop"):
        if power == "stop":
            site.run(WEST, "qm", "stop", str(TARGET))
        refused = site.mirror(f"100:{TARGET}", "--online", job=job)
        assert refused.status == 3 and "VM 100: replica promoted: VM 9102" in refused.complaint(), refused
    site.check_at_ease(counter, config)
    again = site.crossover("recover", str(TARGET), "--json", node=WEST)
    assert again.status == 0 and json.loads(again.out)["was_recovered"], again


@pytest.mark.long
def test_both_disks_of_one_moment(site, counter, job):
    """The content is that of the point on every disk, though the head was rolled back from a torn one."""
    site.mirrored(f"100:{TARGET}", "--online", job=job)
    point = site.mirrored(f"100:{TARGET}", "--online", "--keepremote=1d", job=job)
    images = [disk["replica_image"] for disk in point["disks"]]
    expected = [site.digest(WEST, image, point["recovery_point"]) for image in images]
    counter.writes_on()
    run = in_transfer(site, counter, job)
    run.signal(9)
    run.wait(30)
    site.lab("net", "unlimit")
    done = site.crossover("recover", str(TARGET), "--json", node=WEST, seconds=180)
    assert done.status == 0 and json.loads(done.out)["point"] == point["recovery_point"], done
    assert [site.digest(WEST, image) for image in images] == expected


def test_retention_on_the_destination(site, still, job):
    guest = still(173, targets=(TARGET,))
    made = [site.mirrored(f"{guest.vmid}:{TARGET}", "--keeplocal=1d", "--keepremote=1d", job=job) for _ in range(4)]
    names = [report["recovery_point"] for report in made]
    image = made[0]["disks"][0]["replica_image"]
    site.run(WEST, "rbd", "snap", "create", "--no-progress", f"{image}@before-upgrade")
    with site.unchanged():
        planned = site.crossover("prune", str(TARGET), "--keepremote=last=2", "--dry-run", node=WEST)
        assert planned.status == 0 and planned.out.count("would remove") == 2, planned
        assert site.crossover("prune", "all", node=WEST).status == 2
    done = site.crossover("prune", "all", "--keepremote=last=2", f"--jobname={job}", "--json", node=WEST)
    assert done.status == 0, done
    assert json.loads(done.out)["replicas"][0]["removed"] == [f"{image}@{name}" for name in names[:2]]
    assert site.snapshots(WEST, image) == [*names[2:], "before-upgrade"]
    assert [point["name"] for point in points(site)["points"]] == names[:1:-1]
    report = site.mirrored(f"{guest.vmid}:{TARGET}", "--keepremote=1d", job=job)
    assert report["disks"][0]["base"] == names[3] and not report["disks"][0]["full"]
    site.check_equal(report)


def test_a_disk_that_left_is_named_until_its_image_may_go(site, still, job):
    """Its older points can be recovered as long as they are kept; then `prune` takes the image away."""
    guest = still(174, targets=(TARGET,), disks=("ceph-ssd", "ceph-ssd"))
    before = site.mirrored(f"{guest.vmid}:{TARGET}", job=job)
    image = before["disks"][1]["replica_image"]
    site.run(EAST, "qm", "set", str(guest.vmid), "--delete", "scsi1")
    told = site.mirror(f"{guest.vmid}:{TARGET}", "--keepremote=1d", job=job)
    assert told.status == 0 and f"{image}: it is no disk of the replica any more; 1 recovery point needs it" in (
        told.out + told.err
    ), told
    listed = points(site)
    assert listed["former_images"] == [{"image": image, "points": 1}]
    older = next(one for one in listed["points"] if one["name"] == before["recovery_point"])
    assert older["complete"] and len(older["disks"]) == 2
    site.mirrored(f"{guest.vmid}:{TARGET}", "--keepremote=0s", job=job)
    assert points(site)["former_images"] == [{"image": image, "points": 0}]
    assert site.snapshots(WEST, image) == []
    with site.unchanged():
        kept = site.crossover("prune", str(TARGET), "--keepremote=1d", node=WEST)
        assert kept.status == 0 and "--former-images" in kept.out, kept
    gone = site.crossover("prune", str(TARGET), "--keepremote=1d", "--former-images", node=WEST)
    assert gone.status == 0 and f"moved {image} (" in gone.out, gone
    assert image.split("/")[1] in site.run(WEST, "rbd", "trash", "ls", image.split("/")[0])
    assert points(site)["former_images"] == []
    report = site.mirrored(f"{guest.vmid}:{TARGET}", job=job)
    assert report["former_images"] == []
    site.check_equal(report)
