"""Guests that are moved to the other cluster: there, and back again, from wherever they are and whatever they are."""

import pytest
from migratetest import TARGET, VMID, EndOf, Qemus, setting
from mirrortest import EAST, EAST_ADDRESS, WEST, wait_for


def test_there_and_back(site):
    """What it had counted goes on there, and back here; on the way back only what changed is sent."""
    guest = site.counting_guest()
    config = guest.config()
    moved = site.migrated()
    boot = site.last_boot(site.target())
    last = site.last_boot(guest).stopped()
    assert last and boot.found == last, "nothing is lost, and it was shut down in order"
    site.check_there(guest, config)
    assert not any(disk["full"] for disk in moved["disks"])

    # Nobody starts it here by accident: not at boot, not by hand.
    refused = site.lab("exec", EAST, "qm", "start", str(VMID), check=False)
    assert refused.returncode and "locked (migrate)" in refused.stderr
    again = site.migrate()
    assert again.status == 3 and f"cleanup-source {VMID}" in again.complaint(), again

    site.target().writes_on()
    # The lab's users of each cluster are for one direction.
    back = site.migrated("--accept-new-host-keys", node=WEST, destination=EAST_ADDRESS, pair=f"{TARGET}:{VMID}",
                         job="back", users=())
    assert not any(disk["full"] for disk in back["disks"])
    sent = back["migration"]["precopy_bytes"] + back["migration"]["switch_bytes"]
    assert sent < 16 << 20, f"{sent} bytes of two disks of 64 MiB"
    there = site.last_boot(site.target()).stopped()
    assert there > last and site.last_boot(guest).found == there
    assert site.power(EAST, VMID) == "running" and "onboot: 1\n" in guest.config() and "lock" not in guest.config()
    assert site.power(WEST, TARGET) == "stopped" and "lock: migrate" in site.config(WEST, TARGET)


@pytest.mark.long
def test_downtime(site):
    """How long no QEMU has it is the tool's share: the rest is the guest's own shutdown and boot."""
    guest = site.counting_guest()
    site.mirrored(f"{VMID}:{TARGET}", "--online", job="move")
    here = EndOf(Qemus.of(f"vm-{VMID}-disk-0"))
    report = site.migrated()
    there = Qemus.began(Qemus.of(f"vm-{TARGET}-disk-0"))
    nowhere = there - here.ended
    print(f"nowhere for {nowhere:.2f} s; the tool says: {report['migration']}")
    assert 0 < nowhere < 6, "a figure for a machine that does other things; tests/migrate/downtime measures it"
    assert site.last_boot(site.target()).found == site.last_boot(guest).stopped()


def test_cleanup_source(site):
    guest = site.counting_guest()
    refused = site.crossover("cleanup-source", str(VMID), "--noconfirm")
    assert refused.status == 3 and "tell of no migration" in refused.complaint()
    site.migrated()
    asks = site.crossover("cleanup-source", str(VMID))
    assert asks.status == 2 and "--noconfirm" in asks.complaint()
    planned = site.crossover("cleanup-source", str(VMID), "--dry-run")
    assert planned.status == 0 and guest.images[0] in planned.out
    done = site.crossover("cleanup-source", str(VMID), "--noconfirm")
    assert done.status == 0, done
    assert not any(f"/vm-{VMID}-" in name for name in site.images(EAST))
    assert site.lab("exec", EAST, "qm", "status", str(VMID), check=False).returncode
    site.target().writes_on()


def test_cleanup_source_leaves_what_was_not_migrated(site):
    guest = site.counting_guest()
    unused = f"vm-{VMID}-disk-7"
    site.run(EAST, "pvesm", "alloc", "ceph-ssd", str(VMID), unused, "64M")
    site.run(EAST, "qm", "rescan", "--vmid", str(VMID))
    assert f"unused0: ceph-ssd:{unused}\n" in guest.config()
    report = site.migrated()
    assert any(unused in warning and "stays here" in warning for warning in report["warnings"]), report
    planned = site.crossover("cleanup-source", str(VMID), "--dry-run")
    assert planned.status == 0 and f"{unused}, which was not migrated" in planned.out
    done = site.crossover("cleanup-source", str(VMID), "--noconfirm")
    assert done.status == 0, done
    left = [name for name in site.images(EAST) if f"/vm-{VMID}-" in name]
    assert len(left) == 1 and left[0].endswith(unused), left
    site.target().writes_on()


def test_changes_that_wait_for_the_next_start_move(site):
    guest = site.counting_guest()
    site.run(EAST, "qm", "set", str(VMID), "--cores", "2")
    assert "[PENDING]" in guest.config()
    site.migrated()
    there = site.config(WEST, TARGET)
    assert "cores: 2\n" in there and "[PENDING]" not in there
    site.last_boot(site.target())


def test_without_a_terminal_it_wants_to_be_told(site):
    site.create(VMID)
    with site.unchanged():
        done = site.start_mirror(f"{VMID}:{TARGET}", "--migrate", job="move").wait(60)
        assert done.status == 2 and "--noconfirm" in done.complaint(), done
        for words in (["--keep-dlock"], ["--nolock"], ["--shutdown-timeout=0s"],
                      ["--migrate-mode=suspend", "--no-start"]):
            assert site.migrate(*words).status == 2, words


def test_everything_that_stands_in_its_way_is_said_at_once(site):
    site.run(EAST, "sh", "-c", "mkdir -p /var/lib/vz/template/iso; touch /var/lib/vz/template/iso/debian.iso")
    site.create(VMID, "--net0", "virtio,bridge=vmbr99", "--ide2", "local:iso/debian.iso,media=cdrom",
                "--usb0", "host=1234:5678")
    with site.unchanged():
        done = site.migrate()
    findings = done.guest(VMID)["migration"]["findings"]
    assert done.status == 1 and len(findings) == 3, findings
    assert all(any(part in finding for finding in findings) for part in ("vmbr99", "ide2", "usb0"))


def test_lesson_06_a_guest_that_does_not_shut_down_stays(site):
    """A guest of VMID 1500 under high availability is another one."""
    guest = site.counting_guest(more=setting("ignore-power", 1))
    config = guest.config()
    site.run(EAST, "qm", "create", "1500", "--memory", "64")
    site.run(EAST, "ha-manager", "add", "vm:1500", "--state", "stopped")
    try:
        done = site.migrate("--shutdown-timeout=5s")
    finally:
        site.run(EAST, "ha-manager", "remove", "vm:1500")
        site.run(EAST, "qm", "destroy", "1500")
    assert done.status == 1 and done.guest(VMID)["error_code"] == "timeout", done
    assert done.guest(VMID)["migration"]["outcome"] == "undone"
    site.check_here(guest, config)
    site.migrated("--shutdown-timeout=5s", "--force-stop")
    site.check_there(guest, config)


@pytest.mark.long
def test_from_another_node_to_another_node(site):
    """The guest is not on the node the tool runs on, and its replica was moved from the one it is told of."""
    guest = site.counting_guest(node="pve02")
    config = guest.config()
    site.mirrored(f"{VMID}:{TARGET}", "--online", job="move")
    site.run(WEST, "mv", f"/etc/pve/nodes/pve04/qemu-server/{TARGET}.conf",
             f"/etc/pve/nodes/pve05/qemu-server/{TARGET}.conf")
    report = site.migrated()
    assert report["target_node"] == "pve05"
    site.check_there(guest, config, node="pve05")
    assert site.last_boot(site.target("pve05")).found == site.last_boot(guest).stopped()


@pytest.mark.long
def test_guest_without_an_agent(site):
    guest = site.counting_guest()
    site.run(EAST, "qm", "set", str(VMID), "--agent", "0")
    site.run(EAST, "qm", "stop", str(VMID))
    site.run(EAST, "qm", "start", str(VMID))
    wait_for(guest.counted, 120, "it counts")
    config = guest.config()
    site.migrated("--force-stop", "--shutdown-timeout=20s")
    site.check_there(guest, config)
    site.last_boot(site.target())


def test_guest_of_high_availability(site):
    guest = site.counting_guest()
    config = guest.config()
    site.run(EAST, "ha-manager", "add", f"vm:{VMID}", "--state", "started")
    wait_for(lambda: f"service vm:{VMID} (pve01, started)" in site.run(EAST, "ha-manager", "status"), 60, "HA has it")
    site.migrated("--ha")
    site.check_there(guest, config)
    assert "state ignored" in site.run(EAST, "cat", "/etc/pve/ha/resources.cfg").replace("\t", " ")
    wait_for(lambda: f"service vm:{TARGET} (pve04, started)" in site.run(WEST, "ha-manager", "status"), 60,
             "HA has it there")


def test_paused_guest(site):
    """It does not shut down, and is not ended unless that is asked for."""
    guest = site.counting_guest()
    config = guest.config()
    site.run(EAST, "qm", "suspend", str(VMID))
    done = site.migrate()
    assert done.status == 1 and "paused" in done.guest(VMID)["error"], done
    assert guest.config() == config and site.power(EAST, VMID) == "paused"
    site.migrated("--force-stop")
    site.check_there(guest, config)
    site.last_boot(site.target())


@pytest.mark.parametrize("when", ["shut", pytest.param("start", marks=pytest.mark.long)])
def test_killed(site, when):
    """The tool is killed, before and after the guest is the target's; the same command ends it."""
    guest = site.counting_guest()
    config = guest.config()
    run = site.start_migration()
    if when == "shut":
        wait_for(lambda: "stopped counter" in guest.console(), 120, "it shuts down")
    else:
        wait_for(lambda: site.try_run(WEST, "qm", "status", str(TARGET)).strip() == "status: running", 120, "it starts")
    run.signal(9)
    assert run.wait(30).status == 137
    last = site.last_boot(guest).stopped()
    # Its node has a power failure meanwhile.
    site.lab("node", "reboot", EAST)
    site.migrated()
    site.check_there(guest, config)
    # It may have counted since: it was started by its node once more, or over there before the tool's end was noticed.
    found = site.last_boot(site.target()).found
    assert found >= last, f"{last} was counted here, and {found} found there"
