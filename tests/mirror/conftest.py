"""One lab for the whole folder, and the guests most tests use."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from mirrortest import EAST, WEST, running_lab  # noqa: E402


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The two clusters. Who breaks something in them mends it."""
    with running_lab(tmp_path_factory.mktemp("lab") / "state") as made:
        made.short_watch_timeouts()
        yield made


@pytest.fixture(autouse=True)
def whole_link(site):
    yield
    site.lab("net", "unlimit")
    site.lab("net", "restore")


def setting(name, value):
    """An option of the test guest's system: see tests/lab/guest/init."""
    return f"-fw_cfg name=opt/crossover/{name},string={value} "


@pytest.fixture(scope="session")
def counting_guests(site):
    """100 on pve01; 102 on pve02, which takes four seconds to freeze. Both boot at the same time."""
    for node, vmid in ((EAST, 100), ("pve02", 102)):
        site.destroy(node, vmid)
    guests = [site.create_counting(100, "--name", "counter", "--args", setting("interval", 40)),
              site.create_counting(102, "--name", "slow", "--args", setting("interval", 250) + setting("slow-freeze", 4),
                                   node="pve02")]
    for guest in guests:
        site.counting(guest)
        site.run(guest.node, "qm", "suspend", str(guest.vmid))
    return guests


def awake(guest):
    """The guest runs while a test has it: an emulated processor that counts for nobody costs the others a quarter of one."""
    guest.site.run(guest.node, "qm", "resume", str(guest.vmid))
    yield guest
    guest.site.run(guest.node, "qm", "suspend", str(guest.vmid))


@pytest.fixture
def counter(counting_guests):
    """A guest on pve01 that writes all the time."""
    yield from awake(counting_guests[0])


@pytest.fixture
def slow(counting_guests):
    """A guest on pve02 that writes all the time and takes four seconds to freeze."""
    yield from awake(counting_guests[1])


@pytest.fixture
def still(site):
    """Makes stopped guests with small disks; they and what was made of them go afterwards."""
    made = []

    def make(vmid, *options, node=EAST, targets=(), **how):
        made.append((node, vmid))
        made.extend((WEST, target) for target in targets)
        site.destroy(node, vmid)
        for target in targets:
            site.destroy(WEST, target)
        return site.create(vmid, *options, node=node, **how)
    yield make
    for node, vmid in made:
        site.destroy(node, vmid)
