"""What the users of a mirror run can do and cannot: the cephx users of docs/access.md, and a key that is restricted to
receiving."""

import contextlib
import json
import signal

import pytest
from labtest import KEYRING, SOURCE_USER, USERS
from mirrortest import EAST, WEST, wait_for

VMID, TARGET = 185, 99185
RESTRICTED = "crossover agent --allow receive --pool ceph-ssd --vmid 99000-99999"
AS_CROSSOVER = ("--id", "crossover", "--keyring", KEYRING)


@pytest.fixture
def guest(site, still):
    made = still(VMID, "--args", "-fw_cfg name=opt/x,string=y", "--cipassword", "pass", targets=(TARGET,), megabytes=16)
    site.run(EAST, "rbd", "bench", "--io-type", "write", "--io-size", "1M", "--io-total", "4M", made.images[0])
    return made


def rbd(site, node, *words):
    """A command of rbd as client.crossover: its exit status."""
    done = site.lab("exec", node, "rbd", *AS_CROSSOVER, *words, check=False)
    return done.returncode, done.stderr


def denied(site, node, *words):
    status, said = rbd(site, node, *words)
    assert status and ("ermission denied" in said or "not permitted" in said), (words, status, said)


def test_source_user_writes_no_data(site, guest):
    image = guest.images[0]
    before = site.digest(EAST, image)
    report = site.mirrored(f"{VMID}:{TARGET}", job="caps")
    point = f"{image}@{report['recovery_point']}"
    assert rbd(site, EAST, "export", "--no-progress", point, "/tmp/exported") == (0, "")
    site.run(EAST, "rm", "/tmp/exported")
    site.run(EAST, "sh", "-c", "head -c 65536 /dev/urandom > /tmp/noise")
    denied(site, EAST, "create", "--size", "4M", "ssdpool/vm-185-disk-9")
    denied(site, EAST, "snap", "rollback", "--no-progress", point)
    # `rbd bench` hides what its cache could not write; what is there says it.
    rbd(site, EAST, "bench", "--io-type", "write", "--io-size", "4K", "--io-total", "64K", image)
    write = site.lab("exec", EAST, "rados", *AS_CROSSOVER, "-p", "ssdpool", "put", "rbd_data.x.0", "/tmp/noise", check=False)
    assert write.returncode and "not permitted" in write.stderr
    assert site.digest(EAST, image) == before


def test_destination_user_reaches_its_pools_only(site):
    for pool, allowed in (("ssdpool", True), ("elsewhere", False)):
        status, said = rbd(site, WEST, "create", "--size", "4M", f"{pool}/vm-99186-disk-0")
        assert (status == 0) == allowed, said
    assert rbd(site, WEST, "rm", "--no-progress", "ssdpool/vm-99186-disk-0")[0] == 0
    denied(site, WEST, "create", "--size", "4M", "elsewhere/x")
    done = site.lab("exec", WEST, "ceph", *AS_CROSSOVER, "auth", "ls", check=False)
    assert done.returncode and "access denied" in done.stderr


def test_user_without_rights_is_told(site, guest):
    """Rights to read are not enough on the destination: the run says what it was not permitted, and leaves nothing."""
    site.run(WEST, "sh", "-c", "ceph auth get-or-create client.weak mon 'profile rbd-read-only' "
             "osd 'profile rbd-read-only pool=ssdpool' > /etc/pve/priv/weak.keyring")
    users = (*SOURCE_USER, "--destination-user=weak", "--destination-keyring=/etc/pve/priv/weak.keyring")
    done = site.mirror(f"{VMID}:{TARGET}", "--json", job="caps", users=users)
    assert done.status == 1
    failed = done.guest(VMID)
    assert failed["error_code"] == "permission", done.out
    assert f"create image ssdpool/vm-{TARGET}-disk-0-ceph-ssd: it is not permitted" in failed["error"], failed["error"]
    assert not any(f"-{TARGET}-" in name for name in site.images(WEST)), "nothing was made there"


@contextlib.contextmanager
def restricted(site, command=RESTRICTED):
    """East's keys may do on pve04 what the command does, and nothing else."""
    path = "/etc/pve/priv/authorized_keys"
    before = site.run(WEST, "cat", path)
    lines = [f'command="{command}",restrict {line}' if line.endswith(("pve01", "pve02")) else line
             for line in before.splitlines()]
    assert sum(line.startswith("command=") for line in lines) >= 1, before
    site.run(WEST, "tee", path, input="\n".join(lines) + "\n")
    try:
        yield
    finally:
        site.run(WEST, "tee", path, input=before)


def replica_points(site, image):
    return [name for name in site.snapshots(WEST, image) if name.startswith("crossover-")]


def test_restricted_agent(site, guest):
    replica = f"ssdpool/vm-{TARGET}-disk-0-ceph-ssd"
    pair = f"{VMID}:{TARGET}"
    with restricted(site, RESTRICTED + f" --user crossover --keyring {KEYRING}"):
        first = site.mirrored(pair, "--keepremote=0s", job="limit", users=SOURCE_USER)
        site.check_equal(first)
        left_out = {item["key"]: item["reason"] for item in first["left_out"]}
        assert "restricted" in left_out["args"]
        assert "args:" not in site.config(WEST, TARGET) and "onboot: 0" in site.config(WEST, TARGET)
        site.run(EAST, "rbd", "bench", "--io-type", "write", "--io-size", "4K", "--io-total", "64K", guest.images[0])
        second = site.mirrored(pair, "--keepremote=0s", job="limit", users=SOURCE_USER)
        site.check_equal(second)
        assert not second["disks"][0]["full"]
        # Retention is the destination's own.
        assert replica_points(site, replica) == [first["recovery_point"], second["recovery_point"]]
        third = site.mirrored(pair, "--keepremote=0s", job="limit", users=SOURCE_USER)
        assert any("'crossover prune'" in warning for warning in third["warnings"]), third["warnings"]
        assert len(replica_points(site, replica)) == 3
        where = (f"--vmid={pair}", f"--destination={WEST}", "--pool=ceph-ssd", "--jobname=limit")
        assert site.crossover("verify", *where, *SOURCE_USER).status == 0
        check = site.crossover("check", *where, *SOURCE_USER)
        assert check.status == 0 and "restricted to receiving" in check.out, check.out
        with site.unchanged():
            for options, said in (([f"--vmid={VMID}:500"], "VMIDs 99000-99999 on ceph-ssd"),
                                  (["--pool=ssd-b"], "VMIDs 99000-99999 on ceph-ssd"),
                                  (["--transport=rbd"], "restricted to 'crossover agent'"),
                                  (list(USERS[2:]), "--destination-user")):
                words = dict(option.split("=", 1) for option in [*where, *options])
                done = site.crossover("mirror", *SOURCE_USER, *(f"{name}={value}" for name, value in words.items()))
                assert done.status in (1, 4) and said in done.err, (options, done)
        # Whatever the client asks sshd to run.
        for command in ("touch /root/was-here", "crossover agent --memory=1K; touch /root/was-here", "sh"):
            done = site.lab("exec", EAST, "ssh", "-o", "BatchMode=yes", WEST, command, check=False,
                            input="")
            assert "was-here" not in site.run(WEST, "ls", "/root"), (command, done)
    # The same key, unrestricted again, removes what was left.
    site.mirrored(pair, "--keepremote=0s", job="limit")
    assert len(replica_points(site, replica)) == 1


def test_restricted_agent_over_a_cut_run(site, guest):
    """What a cut run left is gone on with, or replaced, through a restricted agent as well."""
    site.run(WEST, "rbd", "create", "--size", "16M", f"ssdpool/vm-{TARGET}-disk-0-ceph-ssd")
    with restricted(site):
        # No record, here or on the source, says that it is ours.
        done = site.mirror(f"{VMID}:{TARGET}", "--json", job="limit", users=SOURCE_USER)
        assert done.guest(VMID)["outcome"] == "conflict", done.out
        site.run(WEST, "rbd", "rm", "--no-progress", f"ssdpool/vm-{TARGET}-disk-0-ceph-ssd")
        run = site.start_mirror(f"{VMID}:{TARGET}", "--bwlimit=1M", "--compress=none", job="limit", users=SOURCE_USER)
        image = f"ssdpool/vm-{TARGET}-disk-0-ceph-ssd"
        wait_for(lambda: json.loads(site.images(WEST).get(image, {"meta": {}})["meta"].get("crossover.replica", "{}"))
                 .get("end_snapshot"), 30, "the transfer begins")
        run.signal(signal.SIGKILL)
        run.wait()
        report = site.mirrored(f"{VMID}:{TARGET}", job="limit", users=SOURCE_USER)
        site.check_equal(report)


@contextlib.contextmanager
def file_of(site, node, path, text=None):
    """A file of a node that may change meanwhile, or that reads otherwise for a while."""
    before = site.run(node, "cat", path)
    if text is not None:
        site.run(node, "tee", path, input=text)
    try:
        yield
    finally:
        site.run(node, "tee", path, input=before)


def test_key_of_a_node_that_changed(site, still):
    """The cluster's own file for a node decides, and nothing else: not even --accept-new-host-keys."""
    still(188, node="pve02", targets=(99188,))
    other = site.run("pve05", "cat", "/etc/ssh/ssh_host_rsa_key.pub").split()
    for options in ([], ["--accept-new-host-keys"]):
        with file_of(site, EAST, "/etc/pve/nodes/pve02/ssh_known_hosts", f"pve02 {other[0]} {other[1]}\n"):
            done = site.mirror("188:99188", "--json", *options, job="keys")
            assert done.status == 1 and "has changed" in done.guest(188)["error"], done
    site.mirrored("188:99188", job="keys")


def test_new_host_key_is_kept_when_asked_for(site, still):
    still(189, targets=(99189,))
    known = "/root/.ssh/known_hosts"
    with file_of(site, EAST, known):
        before = site.run(EAST, "cat", known)
        refused = site.mirror("189:99189", job="keys", destination="pve05")
        assert refused.status == 4 and "not known" in refused.err
        assert site.run(EAST, "cat", known) == before
        site.mirrored("189:99189", "--accept-new-host-keys", job="keys", destination="pve05")
        added = site.run(EAST, "cat", known).removeprefix(before)
        assert added.startswith("pve05 ") and added.count("\n") == 1
        site.mirrored("189:99189", job="keys", destination="pve05")
    site.destroy("pve05", 99189)


def test_recovery_ends_what_a_restricted_client_sends(site, guest):
    """Whoever has the source's key and sends on and on does not keep the replica from its recovery."""
    pair = f"{VMID}:{TARGET}"
    with restricted(site):
        point = site.mirrored(pair, "--keepremote=1d", job="limit", users=SOURCE_USER)["recovery_point"]
        before = site.digest(WEST, f"ssdpool/vm-{TARGET}-disk-0-ceph-ssd", point)
        site.run(EAST, "rbd", "bench", "--io-type", "write", "--io-size", "1M", "--io-total", "12M", guest.images[0])
        run = site.start_mirror(pair, "--keepremote=1d", "--bwlimit=64K", "--compress=none", "--retries=2",
                                job="limit", users=SOURCE_USER)
        def is_sending():
            assert run.running(), run.wait()
            return json.loads(site.crossover("points", str(TARGET), "--json", node=WEST).out)["unfinished"]

        wait_for(is_sending, 60, "a transfer")
        done = site.crossover("recover", str(TARGET), "--json", node=WEST, seconds=60)
        assert done.status == 0 and json.loads(done.out)["point"] == point, done
        ended = run.wait()
        assert ended.status in (1, 3), ended
        assert site.digest(WEST, f"ssdpool/vm-{TARGET}-disk-0-ceph-ssd") == before
        assert "crossover.recovery" not in site.run(WEST, "rbd", "image-meta", "list",
                                                    f"ssdpool/vm-{TARGET}-disk-0-ceph-ssd")
