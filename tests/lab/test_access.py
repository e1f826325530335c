"""What the nodes of a cluster can do, and what somebody has to know to get further: ssh keys and storages."""

import json
import re

import pytest

EAST, WEST = ("pve01", "pve02"), ("pve04", "pve05")


def ssh(lab, source, target, *options):
    done = lab("exec", source, "ssh", "-o", "BatchMode=yes", *options, target, "hostname", check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def by_pve(cluster_node):
    """How Proxmox itself connects since 8.2."""
    return ("-o", f"HostKeyAlias={cluster_node}", "-o", "GlobalKnownHostsFile=none",
            "-o", f"UserKnownHostsFile=/etc/pve/nodes/{cluster_node}/ssh_known_hosts")


def test_ssh_within_a_cluster(lab):
    assert ssh(lab, "pve01", "10.77.1.2", *by_pve("pve02")) == "pve02"
    assert ssh(lab, "pve05", "10.77.2.4", *by_pve("pve04")) == "pve04"
    assert ssh(lab, "pve01", "pve02") == "Host key verification failed."
    assert ssh(lab, "pve01", "10.77.1.1", *by_pve("pve02")) == "Host key verification failed."


def test_ssh_from_east_to_west(lab):
    assert ssh(lab, "pve01", "pve04") == ssh(lab, "pve02", "pve04") == "pve04"
    assert ssh(lab, "pve01", "pve05") == "Host key verification failed."
    assert "Permission denied" in ssh(lab, "pve04", "10.77.1.1", "-o", "StrictHostKeyChecking=no",
                                      "-o", "UserKnownHostsFile=/dev/null")
    assert lab("exec", "pve04", "getent", "hosts", "pve01", check=False).returncode == 2
    known = lab.run("pve01", "ssh", "pve04", "cat", "/etc/pve/nodes/pve05/ssh_known_hosts")
    lab("exec", "pve01", "sh", "-c", "cat > /tmp/known", input=known)
    assert ssh(lab, "pve01", "pve05", "-o", "UserKnownHostsFile=/tmp/known") == "pve05"


def sections(text):
    for section in text.split("\n\n"):
        head, *lines = section.strip().splitlines() or [""]
        kind, _, name = head.partition(": ")
        if kind == "rbd":
            yield name, dict(line.split() for line in lines)


@pytest.mark.parametrize("node, expected", [
    ("pve02", {"ceph-ssd", "ceph_hdd.x", "kr", "ext"}),
    ("pve05", {"ceph-ssd", "ceph_hdd.x", "kr", "ext", "ssd-b", "ns"})])
def test_every_storage_takes_an_image(lab, node, expected):
    storages = dict(sections(lab.run(node, "cat", "/etc/pve/storage.cfg")))
    assert set(storages) == expected
    for name, storage in storages.items():
        where = ["-c", "/etc/pve/ceph.conf"]
        if "monhost" in storage:
            where = ["-c", f"/etc/pve/priv/ceph/{name}.conf", "-m", storage["monhost"]]
        rbd = ["rbd", "-p", storage["pool"], *(["--namespace", storage["namespace"]] if "namespace" in storage else []),
               *where, "--auth_supported", "cephx", "-n", f"client.{storage.get('username', 'admin')}",
               "--keyring", f"/etc/pve/priv/ceph/{name}.keyring"]
        lab("exec", node, *rbd, "create", "--image-format", "2", "--size", "8", f"vm-100-disk-{name}")
        assert f"vm-100-disk-{name}" in lab.run(node, *rbd, "ls").split()
        lab("exec", node, *rbd, "rm", "--no-progress", f"vm-100-disk-{name}")


def test_plain_rbd_and_snapshots_are_quick(lab):
    script = ("rbd create --size 64M hddpool/quick; start=$(date +%s%N); for i in 1 2 3 4 5; do "
              "rbd snap create --no-progress hddpool/quick@s$i; done; echo $((($(date +%s%N) - start) / 5000000)); "
              "rbd snap purge --no-progress hddpool/quick; rbd rm --no-progress hddpool/quick")
    assert float(lab.run("pve01", "sh", "-c", script)) < 500


def test_what_a_node_has(lab):
    facts = json.loads(lab.run("pve04", "cat", "/etc/crossover-lab/node.json"))
    assert (facts["node"], facts["cluster"], facts["address"]) == ("pve04", "west", "10.77.2.4")
    assert set(facts) == {"node", "cluster", "address", "guest_kernel", "guest_initrd"}
    links = lab.run("pve04", "readlink", "/usr/sbin/qm", "/usr/sbin/pvesm", "/usr/sbin/pvesh", "/usr/sbin/pvecm",
                    "/usr/sbin/ha-manager", "/usr/sbin/pct", "/usr/sbin/pve-guests", "/usr/sbin/pve-ha",
                    "/usr/bin/pveversion", "/etc/ceph/ceph.conf")
    assert len(re.findall(r"/tests/lab/pve/bin/[a-z-]+\n", links)) == 9 and links.endswith("/etc/pve/ceph.conf\n")
    lab("exec", "pve04", "test", "-d", "/var/lock/qemu-server", "-a", "-d", "/var/run/qemu-server")
