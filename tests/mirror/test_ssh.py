"""~/.ssh/config on the node that mirrors: what `ssh HOST` does there, a run does."""

import contextlib
import json

import pytest
from mirrortest import EAST, WEST

TARGET = 9186
PORT = 2222
PID = "/run/sshd-second.pid"


@pytest.fixture
def configured(site):
    """Writes root's ssh configuration on pve01; it goes afterwards."""
    path = "/root/.ssh/config"

    def write(text):
        site.run(EAST, "tee", path, input=text)

    yield write
    site.run(EAST, "rm", "-f", path)


@contextlib.contextmanager
def second_sshd(site, node):
    site.run(node, "/usr/sbin/sshd", "-p", str(PORT), "-o", f"PidFile={PID}")
    try:
        yield
    finally:
        site.run(node, "sh", "-c", f"kill $(cat {PID})")


def test_port_of_a_node_of_the_own_cluster(site, still, configured):
    still(186, node="pve02", targets=(TARGET,))
    configured(f"Host pve02 10.77.1.2\n  Port {PORT}\n")
    refused = site.mirror(f"186:{TARGET}", "--json", job="ssh")
    assert refused.status == 1 and f"port {PORT}: Connection refused" in refused.guest(186)["error"], refused
    with second_sshd(site, "pve02"):
        site.check_equal(site.mirrored(f"186:{TARGET}", job="ssh"), source="pve02")


def test_jump_host_and_alias(site, still, configured):
    """Over a node that stands between, which only the ssh program can do; the key is looked up by the alias."""
    still(186, targets=(TARGET,))
    configured("Host dr-site\n  HostName 10.77.2.4\n  HostKeyAlias pve04\n  ProxyJump jump\n"
               "Host jump\n  HostName 10.77.1.2\n  HostKeyAlias pve02\n"
               "  UserKnownHostsFile /etc/pve/nodes/pve02/ssh_known_hosts\n")
    where = (f"--vmid=186:{TARGET}", "--destination=dr-site", "--pool=ceph-ssd", "--jobname=ssh")
    said = {item["subject"]: item for item in json.loads(site.crossover("check", "--json", *where).out)["items"]}
    assert "the ssh program" in said["dr-site"]["text"] and "ProxyJump" in said["dr-site"]["text"], said
    for full in (True, False):
        report = site.mirrored(f"186:{TARGET}", destination="dr-site", job="ssh")
        assert [disk["full"] for disk in report["disks"]] == [full]
        site.check_equal(report, destination=WEST)
    refused = site.mirror(f"186:{TARGET}", "--ssh=libssh", destination="dr-site", job="ssh")
    assert refused.status == 4 and "ProxyJump" in refused.err, refused
