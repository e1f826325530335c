"""What cannot be done is said in one clear line on standard error, and nothing has changed on either side then."""

import contextlib

import pytest
from mirrortest import EAST, WEST

VMID, TARGET = 110, 9110


@pytest.fixture(scope="module")
def guests(site):
    """A stopped guest, and on the destination a VM and a container that are nobody's replicas."""
    taken = [(EAST, VMID), (WEST, TARGET), (WEST, 9111)]
    for node, vmid in taken:
        site.destroy(node, vmid)
    site.create(VMID, "--name", "still")
    site.create(9111, "--name", "other", node=WEST)
    site.run(WEST, "sh", "-c", 'echo "hostname: box" > "$0"', "/etc/pve/nodes/pve04/lxc/9112.conf")
    yield
    site.run(WEST, "rm", "/etc/pve/nodes/pve04/lxc/9112.conf")
    for node, vmid in taken:
        site.destroy(node, vmid)


def words(**changed):
    """A command line that would work, with options changed (None: left out)."""
    options = {"vmid": f"{VMID}:{TARGET}", "destination": WEST, "pool": "ceph-ssd", "jobname": "refused", **changed}
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]


def complains(site, name, said, status, arguments):
    done = site.crossover("mirror", *arguments, seconds=60)
    line = done.complaint()
    assert line.startswith("crossover: "), name
    for part in said:
        assert part in line, f"{name}: {line}"
    assert done.status == status, f"{name}: {done}"


def refused(site, said, status, arguments):
    with site.unchanged():
        complains(site, "", said, status, arguments)


# Each: the command line, its exit status, and what the line has to say: the thing, and what to do.
USAGE = {
    "no guest": (words(vmid=None), ["--vmid", "missing", "all"]),
    "no destination": (words(destination=None), ["--destination", "missing", "node of the destination"]),
    "vmid: letters": (words(vmid="abc"), ["abc", "from 100 to 999999999"]),
    "vmid: too small": (words(vmid="99"), ["99", "from 100 to 999999999"]),
    "vmid: target too small": (words(vmid="110:9"), ["'9'", "from 100 to 999999999"]),
    "vmid: two colons": (words(vmid="110:9110:1"), ["9110:1"]),
    "vmid: empty part": (words(vmid="110,,111"), ["110,,111"]),
    "vmid: twice": (words(vmid="110:9110,110:9111"), ["110", "twice"]),
    "vmid: one target for two": (words(vmid="110:9110,100:9110"), ["9110"]),
    "excludevmids": (words(excludevmids="11O"), ["11O"]),
    "prefixid": (words(prefixid="x9"), ["x9"]),
    "keeplocal: unit": (words(keeplocal="2x"), ["--keeplocal=2x", "s, m (minutes), h, d or w"]),
    "keeplocal: number": (words(keeplocal="d"), ["--keeplocal=d", "number with the unit"]),
    "keeplocal: negative": (words(keeplocal="-1d"), ["--keeplocal=-1d", "number with the unit"]),
    "keeplocal: fraction": (words(keeplocal="1.5d"), ["--keeplocal=1.5d", "number with the unit"]),
    "keeplocal: too big": (words(keeplocal="99999999999999999999d"), ["--keeplocal=99999999999999999999d"]),
    "keeplocal: without unit": (words(keeplocal="7"), ["--keeplocal=7", "number with the unit"]),
    "keepremote": (words(keepremote="1d1h"), ["--keepremote=1d1h", "number with the unit"]),
    "rewrite: no expression": (words(rewrite="vmbr0"), ["vmbr0", "s/regex/replacement/"]),
    "rewrite: not ended": (words(rewrite="s/a/b"), ["s/a/b"]),
    "rewrite: bad regex": (words(rewrite="s/(/b/"), ["s/(/b/"]),
    "lock-wait": (words(lock_wait="soon"), ["--lock-wait=soon", "number with the unit"]),
    "freeze-timeout": (words(freeze_timeout="0s"), ["--freeze-timeout", "more than 0s"]),
    "no-agent": (words(no_agent="stop"), ["--no-agent", "'stop'", "pause, crash, fail"]),
    "pool: no storage id": (words(pool="a/b"), ["a/b", "pvesm status"]),
    "pool: no RBD": (words(pool="local"), ["local", "type dir", "--pool"]),
    "unknown option": ([*words(), "--bogus"], ["--bogus", "crossover help"]),
    "empty value": (["--jobname=", "--dry-run", *words(jobname=None)], ["--jobname=", "no value"]),
    "stray word": ([*words(), "now"], ["now", "crossover help"]),
}


def test_usage(site, guests):
    with site.unchanged():
        for name, (arguments, said) in USAGE.items():
            complains(site, name, said, 2, arguments)


NOTHING_DONE = {
    "no such guest": (words(vmid="999"), ["VM 999", "no such guest", "qm list"]),
    "no such storage": (words(pool="nope"), ["nope", "--pool", "ceph-ssd"]),
    "nobody at the address": (words(destination="10.77.2.99"), ["10.77.2.99", "No route to host"]),
    "no ssh there": (words(destination="10.77.2.100"), ["10.77.2.100", "refused"]),
    "no such host": (words(destination="nohost"), ["nohost", "name"]),
    "host key not known": (words(destination="pve05"), ["pve05", "SHA256:", "not known", "--accept-new-host-keys"]),
}


def test_nothing_can_be_done(site, guests):
    with site.unchanged():
        for name, (arguments, said) in NOTHING_DONE.items():
            complains(site, name, said, 4, arguments)


@contextlib.contextmanager
def replaced(site, node, path, text):
    """A file of a node that reads otherwise for a while."""
    before = site.run(node, "cat", path)
    site.run(node, "tee", path, input=text)
    try:
        yield
    finally:
        site.run(node, "tee", path, input=before)


def test_changed_host_key(site, guests):
    """pve04 answers with its own key where another one is on record: nobody is talked to, not even to ask."""
    other = site.run("pve05", "cat", "/etc/ssh/ssh_host_ed25519_key.pub").split()
    known = f"{WEST} {other[0]} {other[1]}\n"
    with replaced(site, EAST, "/root/.ssh/known_hosts", known):
        refused(site, [WEST, "has changed", "SHA256:", "known_hosts"], 4, words())
        refused(site, [WEST, "has changed"], 4, [*words(), "--accept-new-host-keys"])
        assert site.run(EAST, "cat", "/root/.ssh/known_hosts") == known


def test_refused_key(site, guests):
    path = "/etc/pve/priv/authorized_keys"
    before = site.run(WEST, "cat", path)
    site.run(WEST, "tee", path, input="")
    try:
        refused(site, [WEST, "as user root", "permission denied", "authorized_keys"], 4, words())
    finally:
        site.run(WEST, "tee", path, input=before)


def test_running_guest_without_online(site, counter):
    refused(site, ["VM 100", "running", "--online"], 1, words(vmid=f"100:{TARGET}"))


def test_target_is_another_vm(site, guests):
    refused(site, ["VM 110", "VM 9111 (other)", "pve04", "another guest", "--vmid=110:<target>"], 3, words(vmid="110:9111"))
    # Not even if it is asked for: it is not this guest.
    refused(site, ["VM 9111 (other)", "another guest"], 3, [*words(vmid="110:9111"), "--overwrite"])


def test_target_is_a_container(site, guests):
    refused(site, ["VMID 9112", "container", "pve04", "--prefixid"], 3, words(vmid="110:9112"))


def test_source_is_locked_by_somebody_else(site, guests):
    config = site.config(EAST, VMID)
    site.write_config(EAST, VMID, f"lock: snapshot\n{config}")
    try:
        refused(site, ["VM 110", "locked (snapshot)", "qm unlock 110", "pve01"], 1, words(lock_wait="1s"))
    finally:
        site.write_config(EAST, VMID, config)


def test_a_hibernated_guest_is_not_unlocked(site, guests):
    """Its lock is a state, which does not go by itself, and says what would be thrown away."""
    config = site.config(EAST, VMID)
    site.write_config(EAST, VMID, f"lock: suspended\nvmstate: ceph-ssd:vm-110-state-suspend-2026-11-23\n{config}")
    try:
        refused(site, ["VM 110", "hibernated", "'qm start 110'", "--nolock"], 1, words(lock_wait="30s"))
        done = site.crossover("mirror", "--migrate", "--noconfirm", *words(lock_wait="30s"), seconds=60)
        said = done.out + done.err
        assert done.status != 0 and "hibernated" in said and "qm unlock" not in said, said
    finally:
        site.write_config(EAST, VMID, config)


def test_one_disk_of_two_guests(site, guests):
    config = site.config(EAST, VMID)
    shared = "scsi5: ceph-ssd:vm-110-disk-9,cache=none,shared=1,size=8M\n"
    site.run(EAST, "rbd", "create", "--size", "8M", "ssdpool/vm-110-disk-9")
    site.destroy(EAST, 111)
    site.create(111, "--name", "twin")
    try:
        site.write_config(EAST, VMID, config + shared)
        site.write_config(EAST, 111, site.config(EAST, 111) + shared)
        with site.unchanged():
            both = site.crossover("mirror", *words(vmid="110:9110,111:9119"), seconds=60)
        assert both.status == 1
        for vmid, other in ((110, 111), (111, 110)):
            assert f"VM {vmid}: its disk scsi5 (ssdpool/vm-110-disk-9) is scsi5 of VM {other} as well" in both.err, both
        assert "'qm set 111 --scsi5 ceph-ssd:vm-110-disk-9,cache=none,shared=1,size=8M,backup=0'" in both.err
    finally:
        site.write_config(EAST, VMID, config)
        site.destroy(EAST, 111)
        site.try_run(EAST, "rbd", "rm", "ssdpool/vm-110-disk-9")


def test_names_of_firewall_rules_that_are_not_there(site, guests):
    site.run(EAST, "sh", "-c", 'mkdir -p /etc/pve/firewall; printf "[RULES]\\n\\nGROUP webservers -i net0\\nIN SSH(ACCEPT) '
             '-source dc/admin_host\\n" > /etc/pve/firewall/110.fw')
    said = "the security group webservers, the alias admin_host"
    try:
        assert said in site.crossover("check", *words(), seconds=60).out
        done = site.crossover("mirror", "--migrate", "--dry-run", *words(), seconds=60)
        assert done.status == 1 and said in done.out + done.err
        site.run(WEST, "sh", "-c", 'mkdir -p /etc/pve/firewall; printf "[ALIASES]\\n\\nadmin_host 192.0.2.1\\n\\n[group Webservers]'
                 '\\n\\nIN ACCEPT\\n" > /etc/pve/firewall/cluster.fw')
        assert "its firewall rules name" not in site.crossover("check", *words(), seconds=60).out
    finally:
        site.run(EAST, "rm", "/etc/pve/firewall/110.fw")
        site.try_run(WEST, "rm", "-f", "/etc/pve/firewall/cluster.fw")


@pytest.mark.parametrize("cluster,side", [("east", "source"), ("west", "destination")])
def test_no_quorum(site, guests, cluster, side):
    site.lab("quorum", cluster, "lost")
    try:
        refused(site, ["VM 110", f"{side} cluster has no quorum"], 1, words())
    finally:
        site.lab("quorum", cluster, "restored")


def test_image_without_record(site, guests):
    """An image of the replica's name that no record explains may be anybody's."""
    site.run(WEST, "rbd", "create", "--size", "16M", f"ssdpool/vm-{TARGET}-disk-0-ceph-ssd")
    try:
        refused(site, [f"vm-{TARGET}-disk-0-ceph-ssd", "no record", "not touched", "another target"], 3, words())
    finally:
        site.destroy(WEST, TARGET)
