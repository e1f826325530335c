"""`crossover allow-source`: one command lets a source in, another one takes all of it back, and between them the
source mirrors through what was set up, and through nothing else."""

import contextlib
import json

import pytest
from labtest import SOURCE_USER
from mirrortest import EAST, WEST

VMID, TARGET = 195, 99195
KEYS = "/etc/pve/priv/authorized_keys"
KEY_FILE, OTHER_KEY_FILE = "/tmp/site-a.pub", "/tmp/pve02.pub"
USER, KEYRING = "site.a", "/etc/pve/priv/ceph.client.site.a.keyring"
SOURCE = ("--name", "siteA", "--key", KEY_FILE, "--pool", "ceph-ssd", "--vmid", "99100-99199")


@pytest.fixture
def guest(site, still):
    return still(VMID, targets=(TARGET,), megabytes=16)


@contextlib.contextmanager
def stranger(site, node=EAST):
    """West does not know the node's key; it only has it in a file. What else is in its authorized_keys ends without
    a newline, as a hand leaves it."""
    before = site.run(WEST, "cat", KEYS)
    rest = "# by hand\n" + "\n".join(line for line in before.splitlines() if not line.endswith(node))
    site.run(WEST, "tee", KEYS, input=rest)
    site.run(WEST, "tee", KEY_FILE, input="# of the source\n" + site.run(node, "cat", "/root/.ssh/id_rsa.pub"))
    try:
        yield rest
    finally:
        site.run(WEST, "tee", KEYS, input=before)
        site.run(WEST, "rm", "-f", KEY_FILE, OTHER_KEY_FILE)
        for user in (USER, "site.b"):
            site.run(WEST, "ceph", "auth", "del", f"client.{user}")
            site.run(WEST, "rm", "-f", f"/etc/pve/priv/ceph.client.{user}.keyring")


def allow(site, *words):
    return site.crossover("allow-source", *words, node=WEST)


def test_source_is_let_in_and_taken_out(site, guest):
    pair = f"{VMID}:{TARGET}"
    with stranger(site) as rest:
        refused = site.mirror(pair, job="allow", users=SOURCE_USER)
        assert refused.status == 4 and "as user root" in refused.err, refused
        with site.unchanged():
            planned = allow(site, *SOURCE, "--user", USER, "--dry-run")
            assert planned.status == 0 and "would write this line to " + KEYS in planned.out, planned
        assert site.run(WEST, "cat", KEYS) == rest

        done = allow(site, *SOURCE, "--user", USER)
        assert done.status == 0 and "all nodes of the cluster share" in done.out, done
        assert site.run(WEST, "readlink", "/root/.ssh/authorized_keys").strip() == KEYS
        written = site.run("pve05", "cat", KEYS)
        head, _, last = rest.rpartition("\n")
        assert written.startswith(head + "\n") and written.endswith("\n" + last), written
        [line] = set(written.splitlines()) - set(rest.splitlines())
        assert line in done.out and line.endswith(" crossover:siteA")
        keyring = site.run(WEST, "cat", KEYRING)
        secret = site.run(WEST, "ceph", "auth", "get-key", f"client.{USER}").strip()
        assert secret in keyring and secret not in done.out + done.err
        assert site.run(WEST, "stat", "-c", "%a", KEYRING).strip() == "600"
        assert "crossover-probe" not in json.dumps(site.state(WEST)), "what was tried is gone again"
        caps = json.loads(site.run(WEST, "ceph", "auth", "get", f"client.{USER}", "--format", "json"))[0]["caps"]
        assert caps == {"mon": "profile rbd", "osd": "profile rbd pool=ssdpool"}

        # Through it, and only where it goes.
        site.check_equal(site.mirrored(pair, job="allow", users=SOURCE_USER))
        beyond = site.mirror(f"{VMID}:500", job="beyond", users=SOURCE_USER)
        assert beyond.status in (1, 4) and "(source siteA)" in beyond.out + beyond.err, beyond
        shell = site.lab("exec", EAST, "ssh", "-o", "BatchMode=yes", WEST, "touch /root/was-here", check=False,
                         input="")
        assert shell.returncode == 2 and "this key of source siteA is restricted" in shell.stderr, shell

        again = allow(site, *SOURCE, "--user", USER)
        assert again.status == 0 and "nothing to do" in again.out, again
        listed = json.loads(allow(site, "--list", "--json").out)["sources"]
        print_of = site.run(EAST, "ssh-keygen", "-lf", "/root/.ssh/id_rsa.pub").split()[1]
        assert [(s["name"], s["storages"], s["vmids"], s["user"], s["fingerprint"]) for s in listed] == \
            [("siteA", ["ceph-ssd"], "99100-99199", USER, print_of)]

        removed = allow(site, "--remove", "--name", "siteA")
        assert removed.status == 0, removed
        assert site.run(WEST, "cat", KEYS) == rest
        assert not site.try_run(WEST, "ls", KEYRING)
        assert site.lab("exec", WEST, "ceph", "auth", "get", f"client.{USER}", check=False).returncode == 2
        refused = site.mirror(pair, job="allow", users=SOURCE_USER)
        assert refused.status == 4 and "as user root" in refused.err, refused
        assert allow(site, "--remove", "--name", "siteA").status == 4


def test_what_stands_in_the_way(site):
    with stranger(site) as rest:
        words = dict(zip(SOURCE[::2], SOURCE[1::2]))

        def tried(*more, **changed):
            options = {**words, **{f"--{name}": value for name, value in changed.items()}}
            return allow(site, *(f"{name}={value}" for name, value in options.items()), *more)

        # Who is there already, and may less.
        site.run(WEST, "ceph", "auth", "get-or-create", "client.site.b", "mon", "profile rbd", "osd",
                 "profile rbd-read-only pool=ssdpool", "-o", "/etc/pve/priv/ceph.client.site.b.keyring")
        less = tried(user="site.b")
        assert less.status == 3 and "lacks osd 'profile rbd pool=ssdpool'; ceph auth caps " in less.err, less
        # What it says is to be run makes it enough.
        command = less.err.split("; ")[1].split(" gives it ")[0]
        site.run(WEST, "sh", "-c", command)
        assert tried(user="site.b").status == 0
        assert allow(site, "--remove", "--name", "siteA").status == 0
        assert site.run(WEST, "ceph", "auth", "get-key", "client.site.b"), "somebody else made it"
        # pve02's key may do everything; somebody wrote a line by hand.
        site.run(WEST, "tee", OTHER_KEY_FILE, input=site.run("pve02", "cat", "/root/.ssh/id_rsa.pub"))
        taken = tried(key=OTHER_KEY_FILE)
        assert taken.status == 3 and taken.err.startswith("crossover: key taken: line "), taken
        # The storages of one pool have the same images.
        by_hand = 'command="crossover agent --allow receive --pool kr --vmid 99150",restrict ssh-ed25519 AAAA hand'
        site.run(WEST, "tee", KEYS, input=f"{rest}\n{by_hand}\n")
        overlap = tried()
        assert overlap.status == 3 and "VMID 99150 on ceph-ssd, whose images are those of kr" in overlap.err
        assert tried(name="a b").status == 2 and tried(pool="none").status == 4
        assert "siteA" not in site.run(WEST, "cat", KEYS)
