"""ssh keys: each node has its own host keys and its own root key, as after an installation of Proxmox."""

import base64
import hashlib
import hmac
import os
import subprocess

from .process import LabError

# 2048 bits where Proxmox takes 4096: made in a tenth of the time.
HOST_KEYS = {"rsa": ["-b", "2048"], "ecdsa": [], "ed25519": []}


def _generate(path, kind, comment, *options):
    done = subprocess.run(["ssh-keygen", "-q", "-t", kind, *options, "-N", "", "-C", comment, "-f", str(path)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"ssh-keygen: {done.stderr.strip()}")


def generate(node, etc_ssh, root_ssh):
    """Makes a node's keys. Returns nothing: the public halves are read from their files."""
    for kind, options in HOST_KEYS.items():
        _generate(etc_ssh / f"ssh_host_{kind}_key", kind, f"root@{node.name}", *options)
    _generate(root_ssh / "id_rsa", "rsa", f"root@{node.name}", *HOST_KEYS["rsa"])


def _public(path):
    return " ".join(path.read_text().split()[:2])


def root_key(root_ssh):
    return (root_ssh / "id_rsa.pub").read_text()


def node_known_hosts(node, etc_ssh):
    """/etc/pve/nodes/NODE/ssh_known_hosts: Proxmox (8.2 and later) writes the RSA key alone, under the node's name."""
    return f"{node.name} {_public(etc_ssh / 'ssh_host_rsa_key.pub')}\n"


def known_after_login(node, etc_ssh):
    """What `ssh NODE` leaves in known_hosts on Debian: all of the host's keys, the name hashed."""
    lines = []
    for kind in ("ed25519", "ecdsa", "rsa"):
        salt = os.urandom(20)
        hashed = hmac.new(salt, node.name.encode(), hashlib.sha1).digest()
        name = "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, hashed))
        lines.append(f"{name} {_public(etc_ssh / f'ssh_host_{kind}_key.pub')}\n")
    return "".join(lines)
