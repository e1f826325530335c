"""Guests that are moved without a reboot: what runs in them goes on over there, or here again if it cannot."""

import re

import pytest
from migratetest import TARGET, VMID
from mirrortest import EAST, EAST_ADDRESS, WEST, wait_for

SUSPEND = "--migrate-mode=suspend"


def told(guest):
    """Each line of the counter on a guest's console: what it had counted, and the uptime in milliseconds."""
    return [tuple(map(int, found)) for found in re.findall(r"(?m)^counter A=(\d+) B=\d+ wall=\d+ mono=(\d+) gap",
                                                           guest.console())]


def check_goes_on(guest, counted, uptime):
    """The very process counts on: no other one has begun, and nothing has booted, since it had told of that."""
    def further():
        return [line for line in told(guest) if line[0] > counted]
    later = wait_for(further, 60, f"VM {guest.vmid} counts on from {counted} on {guest.node}")
    assert later[0][1] > uptime
    # It counts fifty times a second at most: what it had not told of yet is not lost, and not counted twice.
    assert later[0][0] - counted <= (later[0][1] - uptime) / 20 + 1
    return later[-1]


def boots(guest):
    return guest.console().count("boot id"), guest.console().count("found counter")


def check_no_states(site):
    for node in (EAST, WEST):
        assert not any("-state-" in name for name in site.images(node))


def test_there_and_back(site):
    guest = site.counting_guest()
    config = guest.config()
    last = told(guest)[-1]
    moved = site.migrated(SUSPEND)
    assert moved["migration"]["suspended"] and moved["migration"]["state_bytes"] > 1 << 20
    last = check_goes_on(site.target(), *max(last, told(guest)[-1]))
    assert boots(site.target()) == (0, 0) and "stopped counter" not in guest.console()
    site.check_there(guest, config)
    for text in (guest.config(), site.config(WEST, TARGET)):
        assert "vmstate" not in text and "running" not in text
    check_no_states(site)
    print(f"there: {moved['migration']}")

    back = site.migrated(SUSPEND, "--accept-new-host-keys", node=WEST, destination=EAST_ADDRESS,
                         pair=f"{TARGET}:{VMID}", job="back", users=())
    assert back["migration"]["suspended"] and not any(disk["full"] for disk in back["disks"])
    check_goes_on(guest, *max(last, told(site.target())[-1]))
    assert boots(guest) == (1, 1) and boots(site.target()) == (0, 0)
    assert "onboot: 1\n" in guest.config() and "lock" not in guest.config() and "vmstate" not in guest.config()
    check_no_states(site)
    print(f"and back: {back['migration']}")


@pytest.mark.long
def test_target_that_cannot_go_on_from_it(site):
    """Over there it has another amount of memory: what was saved does not fit. It goes on here, and is moved at last."""
    guest = site.counting_guest()
    # As `qm` writes it, which is what it does when it suspends a guest.
    site.run(EAST, "qm", "set", str(VMID), "--tags", "moving")
    config = guest.config()
    done = site.migrate(SUSPEND, "--rewrite=s/memory: 256/memory: 320/")
    last = told(guest)[-1]
    failed = done.guest(VMID)
    assert done.status == 1 and failed["migration"]["outcome"] == "undone", done
    assert "load of migration failed" in failed["error"], failed["error"]
    site.check_here(guest, config)
    check_goes_on(guest, *last)
    assert boots(guest) == (1, 1)
    check_no_states(site)
    site.migrated(SUSPEND)
    check_goes_on(site.target(), *told(guest)[-1])
    assert boots(site.target()) == (0, 0)
    site.check_there(guest, config)


def test_killed_and_power_failure(site):
    """The tool is killed once the guest is suspended, and its node has a power failure: what was saved goes on there."""
    guest = site.counting_guest()
    config = guest.config()
    run = site.start_migration(SUSPEND)
    fenced = wait_for(lambda: "lock: migrate" in (now := guest.config()) and now, 120, "it is fenced")
    run.signal(9)
    assert run.wait(30).status == 137
    assert "vmstate: " in fenced and "runningmachine: " in fenced and "onboot: 0" in fenced
    last = told(guest)[-1]
    site.lab("node", "reboot", EAST)
    assert site.power(EAST, VMID) == "stopped", "the fence holds when its node boots"
    site.migrated(SUSPEND)
    check_goes_on(site.target(), *last)
    assert boots(site.target()) == (0, 0)
    site.check_there(guest, config)
    check_no_states(site)
