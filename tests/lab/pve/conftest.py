"""The fixtures of the stand-ins' tests."""
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pvetest import LAB, Node, Transcript, tool  # noqa: E402


@pytest.fixture
def node(tmp_path):
    # Unix sockets have short names: not below pytest's long folders.
    made = Node(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    yield made
    made.down()
    shutil.rmtree(made.root)


@pytest.fixture
def transcript():
    return Transcript


@pytest.fixture(scope="session")
def ceph():
    """A throw-away Ceph cluster: the folder with ceph.conf and keyring."""
    program = tool("ceph-cluster", "CROSSOVER_CEPH_CLUSTER")
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    subprocess.run([program, "up", folder], check=True, timeout=120)
    yield folder
    subprocess.run([program, "down", folder], check=True, timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


_numbers = itertools.count(1)


@pytest.fixture
def ceph_node(node, ceph):
    """A node whose storage `rbd` is an empty namespace of the throw-away cluster's pool rbd."""
    conf, keyring = ceph / "ceph.conf", next(ceph.glob("*client.admin.keyring"))
    namespace = f"test{next(_numbers)}"

    def rbd(*words):
        return subprocess.run(["rbd", "--conf", conf, "--keyring", keyring, *words], check=True, text=True,
                              capture_output=True).stdout
    rbd("namespace", "create", f"rbd/{namespace}")
    node.write("etc/pve/ceph.conf", conf.read_bytes())
    node.write("etc/pve/priv/ceph/rbd.keyring", keyring.read_bytes())
    node.write("etc/pve/storage.cfg", f"rbd: rbd\n\tpool rbd\n\tnamespace {namespace}\n\tcontent images,rootdir\n\n")
    node.namespace = namespace
    node.rbd = lambda verb, *words: rbd(*verb.split(), "--namespace", namespace, *words)
    return node


@pytest.fixture(scope="session")
def guest_image():
    folder = Path(os.environ.get("CROSSOVER_GUEST", LAB.parents[1] / "build" / "lab-guest"))
    subprocess.run([LAB / "guest" / "build", folder], check=True, timeout=300)
    return folder
