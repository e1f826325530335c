"""The link between the clusters: its limit is kept, and a cut line is a silence, not a hang-up."""

import time

import pytest

from crosslab import process

# Measured on the receiver, from its first byte to its last.
RECEIVE = """
import socket, sys, time
listener = socket.create_server(("0.0.0.0", 4000)); print("ready", flush=True)
peer, _ = listener.accept(); size = 0; started = time.monotonic()
while data := peer.recv(1 << 16): size += len(data)
print(size / (time.monotonic() - started))
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 4000)) as link: link.sendall(bytes(int(sys.argv[2])))
"""
ECHO = """
import socket
listener = socket.create_server(("0.0.0.0", 4001)); print("ready", flush=True)
peer, _ = listener.accept()
while data := peer.recv(100): peer.sendall(data)
"""
TALK = """
import socket, sys
link = socket.create_connection((sys.argv[1], 4001))
for line in sys.stdin:
    link.sendall(line.encode()); print(link.recv(100).decode(), end="", flush=True)
"""
PIPES = {"stdin": -1, "stdout": -1, "text": True, "bufsize": 1}


@pytest.fixture(autouse=True)
def whole_link(lab):
    yield
    lab("net", "unlimit")
    lab("net", "restore")


def listen(lab, node, script):
    child = lab.start("exec", node, "python3", "-c", script, **PIPES)
    assert child.stdout.readline() == "ready\n"
    return child


def rate(lab, sender, receiver, address, size):
    child = listen(lab, receiver, RECEIVE)
    lab("exec", sender, "python3", "-c", SEND, address, str(size))
    return float(child.communicate()[0])


def test_limit(lab):
    free = rate(lab, "pve01", "pve05", "10.77.2.5", 200 << 20)
    lab("net", "limit", "80mbit")
    assert lab("net", "status").stdout == "link: up\nlimit: 80Mbit\n"
    there = rate(lab, "pve01", "pve05", "10.77.2.5", 5 << 20)
    back = rate(lab, "pve05", "pve01", "10.77.1.1", 5 << 20)
    lab("net", "limit", "40mbit")
    slower = rate(lab, "pve01", "pve05", "10.77.2.5", 5 << 20)
    assert 8e6 < there < 11e6 and 8e6 < back < 11e6 and 1.7 < there / slower < 2.3
    inside = rate(lab, "pve04", "pve05", "10.77.2.5", 100 << 20)
    assert inside > 5 * there, "the limit is for the link alone"
    lab("net", "unlimit")
    assert lab("net", "status").stdout == "link: up\nlimit: none\n"
    assert free > 5 * there


def test_cut_keeps_connections(lab):
    server = listen(lab, "pve04", ECHO)
    client = lab.start("exec", "pve02", "python3", "-c", TALK, "10.77.2.4", **PIPES)
    client.stdin.write("before\n")
    assert client.stdout.readline() == "before\n"
    lab("net", "limit", "100mbit")
    lab("net", "cut")
    lab("net", "cut")
    assert lab("net", "status").stdout == "link: cut\nlimit: 100Mbit\n"
    client.stdin.write("during\n")
    assert lab("exec", "pve02", "timeout", "0.5", "bash", "-c", ": > /dev/tcp/10.77.2.4/22", check=False
               ).returncode == 124, "silence, not a refusal"
    assert lab("exec", "pve02", "bash", "-c", ": > /dev/tcp/10.77.1.1/22").returncode == 0, "its own cluster is near"
    lab("net", "restore")
    assert client.stdout.readline() == "during\n"
    client.communicate()
    server.communicate()


def test_only_the_link_leads_out(lab):
    assert "default" not in lab.run("pve01", "ip", "route")
    assert lab.run("pve01", "ip", "route", "get", "10.77.2.4").split()[2] == "10.77.1.254"
    assert "unreachable" in lab("exec", "pve01", "ip", "route", "get", "192.0.2.1", check=False).stderr


def test_gateway_stays_when_a_node_goes(lab):
    """Its hardware address is what the other nodes remember."""
    def address():
        return lab.run("switch-east", "ip", "-brief", "link", "show", "bridge").split()[2]
    before = address()
    lab("node", "reboot", "pve02")
    assert address() == before
    assert lab("exec", "pve01", "timeout", "2", "bash", "-c", "> /dev/tcp/10.77.2.4/22", check=False).returncode == 0
