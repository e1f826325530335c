"""States that a human has to decide about: refused by name with nothing touched, and left by the way out that is asked for."""

import json
import re
import signal

import pytest
from mirrortest import BOOT_SECONDS, EAST, WEST, Guest, wait_for

JOB = "conflicts"
MIB = 1 << 20


def write(site, guest, offset, length, index=0):
    """Random bytes on one of a guest's disks, through a writing client of its node."""
    write_image(site, guest.node, guest.images[index], offset, length)


def write_image(site, node, image, offset, length):
    script = ("import os,sys,rados,rbd\n"
              "pool,name=sys.argv[1].split('/'); offset,length=map(int,sys.argv[2:])\n"
              "with rados.Rados(conffile='/etc/pve/ceph.conf') as c, c.open_ioctx(pool) as i, rbd.Image(i,name) as m:\n"
              "    m.write(os.urandom(length),offset)\n")
    site.run(node, "/usr/bin/python3", "-c", script, image, str(offset), str(length))


def refused(site, vmid, conflict, said, *words):
    """The guest's report of a run that this conflict stopped: its text is one line that begins with the conflict's name."""
    done = site.mirror(vmid, "--json", *words, job=JOB)
    assert done.status == 3, done
    (guest,) = done.report()["guests"]
    assert (guest["outcome"], guest["conflict"]) == ("conflict", conflict), guest
    assert f"{conflict}: " in guest["error"] and "\n" not in guest["error"]
    for part in said:
        assert part in guest["error"], guest["error"]
    return guest


def wire_bytes(site):
    """What went over the link between the clusters so far, both ways."""
    columns = re.search(r"(?m)^ *wan: *(.*)$", site.run("switch-east", "cat", "/proc/net/dev"))[1].split()
    return int(columns[0]) + int(columns[8])


def test_replica_that_was_started(site, counter):
    """Lessons, row 5: what a started replica wrote is not overwritten without a word."""
    target = 9173
    site.destroy(WEST, target)
    vmid = f"100:{target}"
    try:
        first = site.mirrored(vmid, "--online", job=JOB)
        point = first["recovery_point"]
        replicas = [disk["replica_image"] for disk in first["disks"]]
        site.run(WEST, "qm", "start", str(target))
        refused(site, vmid, "replica running", [WEST, str(target)], "--online", "--discard-changes")
        replica = Guest(site, WEST, target, tuple(replicas))
        wait_for(replica.counted, BOOT_SECONDS, "the replica counts")
        site.run(WEST, "qm", "stop", str(target))

        before = [site.digest(WEST, image) for image in replicas]
        assert before != [site.digest(WEST, image, point) for image in replicas]
        said = [point, "--discard-changes"]
        refused(site, vmid, "replica diverged", said, "--online")
        assert [site.digest(WEST, image) for image in replicas] == before
        planned = site.mirror(vmid, "--online", "--discard-changes", "--dry-run", "--json", job=JOB).guest(100)
        assert any("roll it back" in step for step in planned["steps"])
        assert [site.digest(WEST, image) for image in replicas] == before

        report = site.mirrored(vmid, "--online", "--discard-changes", job=JOB)
        assert [(disk["full"], disk["base"]) for disk in report["disks"]] == [(False, point)] * 2
        assert any(point in warning and "--discard-changes" in warning for warning in report["warnings"])
        site.check_equal(report)
        a, b = site.counters(WEST, replicas, report["recovery_point"])
        assert 0 <= a - b <= 1
    finally:
        site.destroy(WEST, target)


class ShellTool:
    """A replica as the shell tool makes and updates it, by its own commands."""

    def __init__(self, site, guest, target):
        self.site, self.guest, self.target = site, guest, target
        self.replicas = [f"ssdpool/{image.split('/')[1].replace(f'vm-{guest.vmid}-', f'vm-{target}-')}-{storage}"
                         for image, storage in zip(guest.images, ("ceph-ssd", "ceph_hdd.x"))]
        self.names = []

    def copy(self, name):
        self.names.append(name)
        for image, replica in zip(self.guest.images, self.replicas):
            self.site.run(EAST, "rbd", "snap", "create", "--no-progress", f"{image}@{name}")
            if len(self.names) == 1:
                script = 'rbd export --no-progress "$0@$1" - | ssh "$2" rbd import --no-progress - "$3"'
            else:
                script = ('rbd export-diff --no-progress --from-snap "$4" "$0@$1" - | '
                          'ssh "$2" rbd import-diff --no-progress - "$3"')
            self.site.run(EAST, "bash", "-o", "pipefail", "-c", script, image, name, WEST, replica, self.names[-2:][0])
            if len(self.names) == 1:
                self.site.run(WEST, "rbd", "snap", "create", "--no-progress", f"{replica}@{name}")

    def configure(self):
        text = self.guest.config()
        for image, replica in zip(self.guest.images, self.replicas):
            text = re.sub(rf"(ceph-ssd|ceph_hdd\.x):{image.split('/')[1]}\b(?=.*\n)", f"ceph-ssd:{replica.split('/')[1]}",
                          text, count=1)
        self.site.write_config(WEST, self.target, text)


SHELL_TOOL_TARGET = 9174


@pytest.fixture
def shell_tool(site, still):
    """A stopped guest with two disks of 64 MiB, half of each written, and the shell tool's replica of it after a second
    run; then a little was written again."""
    guest = still(174, targets=(SHELL_TOOL_TARGET,), disks=("ceph-ssd", "ceph_hdd.x"), megabytes=64)
    for index in range(2):
        write(site, guest, 0, 32 * MIB, index)
    tool = ShellTool(site, guest, SHELL_TOOL_TARGET)
    tool.copy("mirror-20261121030000")
    write(site, guest, 3 * MIB, MIB)
    tool.copy("mirror-20261122030000")
    tool.configure()
    write(site, guest, 7 * MIB, MIB)
    return tool


@pytest.mark.parametrize("transport", ["agent", pytest.param("rbd", marks=pytest.mark.long)])
def test_replica_of_the_shell_tool(site, shell_tool, transport):
    vmid = f"{shell_tool.guest.vmid}:{SHELL_TOOL_TARGET}"
    old, base = shell_tool.names
    with site.unchanged():
        refused(site, vmid, "target VMID taken", ["--adopt"])
        refused(site, vmid, "image name taken", [base, "--adopt"], "--overwrite")
        planned = site.mirror(vmid, "--adopt", "--dry-run", "--json", job=JOB)
        assert planned.status == 0 and any(base in step for step in planned.guest(shell_tool.guest.vmid)["steps"]), planned

    before = wire_bytes(site)
    report = site.mirrored(vmid, "--adopt", f"--transport={transport}", job=JOB)
    on_the_wire = wire_bytes(site) - before
    assert [(disk["full"], disk["base"], disk["replica_image"]) for disk in report["disks"]] == [
        (False, base, replica) for replica in shell_tool.replicas]
    assert MIB <= sum(disk["stream_bytes"] for disk in report["disks"]) < 2 * MIB
    if transport == "agent":
        # Content is compared where it is; only hashes travel.
        assert on_the_wire < 4 * MIB
    assert any(old in warning and base in warning and "left as they are" in warning for warning in report["warnings"])
    site.check_equal(report)
    for node, images in ((EAST, shell_tool.guest.images), (WEST, shell_tool.replicas)):
        for image in images:
            assert site.snapshots(node, image) == [old, base, report["recovery_point"]]

    write(site, shell_tool.guest, 9 * MIB, MIB, 1)
    again = site.mirrored(vmid, job=JOB)
    assert again["warnings"] == [] and [disk["base"] for disk in again["disks"]] == [report["recovery_point"]] * 2
    site.check_equal(again)
    assert site.snapshots(WEST, shell_tool.replicas[0]) == [old, base, again["recovery_point"]]


def test_replica_of_the_shell_tool_that_differs(site, shell_tool):
    """One block of the second disk's replica rotted before its snapshot was made, as far as RBD knows."""
    vmid = f"{shell_tool.guest.vmid}:{SHELL_TOOL_TARGET}"
    replica = shell_tool.replicas[1]
    info = json.loads(site.run(WEST, "rbd", "info", "--format", "json", replica))
    site.run(WEST, "sh", "-c", 'cat > /tmp/rot && rados -p ssdpool put "$0" /tmp/rot --offset 4196',
             f"{info['block_name_prefix']}.{5:016x}", input="rotten")
    with site.unchanged():
        refused(site, vmid, "replica diverged", [f"{replica}@{shell_tool.names[1]}", "4096 bytes", f"at {20 * MIB + 4096}",
                                                 "--reseed"], "--adopt")
    # The way out leaves the old images as they are until the new ones are complete.
    report = site.mirrored(vmid, "--reseed", job=JOB)
    assert [(disk["full"], disk["replica_image"]) for disk in report["disks"]] == [
        (True, f"{name}-r2") for name in shell_tool.replicas]
    site.check_equal(report)
    check_trashed(site, shell_tool.replicas)


def check_trashed(site, images):
    """They are in the trash, for about a week, with what they held."""
    assert not set(images) & set(site.images(WEST))
    listed = {entry["name"]: entry for entry in
              json.loads(site.run(WEST, "rbd", "trash", "ls", "--long", "--format", "json", "ssdpool"))}
    for image in images:
        entry = listed[image.split("/")[1]]
        assert "protected until" in entry["status"], entry
        site.run(WEST, "rbd", "trash", "restore", "--pool", "ssdpool", entry["id"])
        assert site.snapshots(WEST, image)


def test_replica_whose_base_is_gone(site, still):
    target = 9175
    guest = still(175, targets=(target,), disks=("ceph-ssd", "ceph_hdd.x"), megabytes=16)
    write(site, guest, 0, 12 * MIB)
    vmid = f"{guest.vmid}:{target}"
    first = site.mirrored(vmid, job=JOB)
    point = first["recovery_point"]
    old = [disk["replica_image"] for disk in first["disks"]]
    config = site.config(WEST, target)
    for image in guest.images:
        site.run(EAST, "rbd", "snap", "rm", "--no-progress", f"{image}@{point}")
    write(site, guest, MIB, MIB)
    with site.unchanged():
        refused(site, vmid, "no common base", [point, "--reseed"])

    # A new copy that is killed on its way has touched nothing of the old one, which could be started now.
    held = [site.digest(WEST, image) for image in old]
    site.lab("net", "limit", "20mbit")
    begin = wire_bytes(site)
    run = site.start_mirror(vmid, "--reseed", "--compress=none", job=JOB)
    wait_for(lambda: wire_bytes(site) > begin + 3 * MIB and f"{old[0]}-r2" in site.images(WEST), 60, "a part of the copy")
    assert run.running()
    run.signal(signal.SIGKILL)
    run.wait()
    site.lab("net", "unlimit")
    assert site.config(WEST, target) == config
    assert [site.digest(WEST, image) for image in old] == held
    assert "lock" not in guest.config()

    report = site.mirrored(vmid, "--reseed", job=JOB)
    assert [disk["replica_image"] for disk in report["disks"]] == [f"{name}-r2" for name in old]
    site.check_equal(report)
    changed = site.config(WEST, target)
    for name in old:
        assert f"ceph-ssd:{name.split('/')[1]}-r2," in changed
    check_trashed(site, old)

    write(site, guest, 2 * MIB, MIB)
    again = site.mirrored(vmid, job=JOB)
    assert [(disk["full"], disk["replica_image"]) for disk in again["disks"]] == [(False, f"{name}-r2") for name in old]
    site.check_equal(again)
