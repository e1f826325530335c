"""A stopped guest over every way into the destination, and with a limit on what is sent."""

import json
import time

import pytest
from labtest import KEYRING, SOURCE_USER, USERS
from mirrortest import EAST, WEST

TARGET = 9180
MIB = 1 << 20
CONF = "/root/west.conf"


@pytest.fixture
def guest(site, still):
    made = still(180, targets=(TARGET,), megabytes=64)
    site.run(made.node, "rbd", "bench", "--io-type", "write", "--io-size", "1M", "--io-total", "16M", made.images[0])
    return made


@pytest.fixture
def west_conf(site):
    """West's Ceph as east's node reaches it: the monitors' addresses, and the keyring of its user there."""
    key = site.run(WEST, "cat", KEYRING)
    lines = [line for line in site.run(WEST, "cat", "/etc/pve/ceph.conf").splitlines() if "keyring" not in line]
    conf = "\n".join([*lines, ""])
    for path, text in ((CONF, conf), ("/root/west.keyring", key)):
        site.run(EAST, "/usr/bin/python3", "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", path, text)
    yield CONF
    site.run(EAST, "rm", "-f", CONF, "/root/west.keyring")


@pytest.mark.parametrize("transport", ["agent", pytest.param("rbd", marks=pytest.mark.long), "direct"])
def test_every_transport(site, guest, west_conf, transport):
    options, users = [], USERS
    if transport == "direct":
        options = [f"--destination-conf={west_conf}"]
        users = (*SOURCE_USER, "--destination-user=crossover", "--destination-keyring=/root/west.keyring")
    for full in (True, False):
        report = site.mirrored(f"{guest.vmid}:{TARGET}", f"--transport={transport}", *options, job="transport", users=users)
        assert [disk["full"] for disk in report["disks"]] == [full]
        site.check_equal(report)


def test_bandwidth_limit(site, guest):
    """Both ways: no faster than the limit, and what it allows is used. Without one the same takes a fraction of that."""
    took = {}
    for limit in ("4M", None):
        report = site.mirrored(f"{guest.vmid}:{TARGET}", *([f"--bwlimit={limit}"] if limit else []), "--compress=none",
                               "--reseed", job="limit")
        (disk,) = report["disks"]
        assert disk["full"] and disk["stream_bytes"] >= 16 * MIB, json.dumps(report)
        took[limit] = disk["duration_ms"] / 1000
        site.check_equal(report)
    expected = 16 * MIB / (4 * MIB)
    assert expected - 0.5 <= took["4M"] <= 3 * expected, took
    assert took[None] < took["4M"], took
