"""The throw-away cluster: usable as it says, and gone when told."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from labtest import HERE


def ceph_cluster(*words, check=True):
    return subprocess.run([HERE / "ceph-cluster", *words], check=check, capture_output=True, text=True)


def rbd(folder, *words):
    return subprocess.run(["rbd", "--conf", folder / "ceph.conf", *words], check=True, capture_output=True,
                          text=True).stdout


@pytest.mark.parametrize("store", ["--memstore", "--bluestore"])
def test_up_and_down(tmp_path, store):
    folder = tmp_path / "c"
    assert ceph_cluster("up", folder, store).stdout == f"{folder}/ceph.conf\n"
    rbd(folder, "create", "--size", "8M", "other/a")
    assert rbd(folder, "ls", "other") == "a\n" and rbd(folder, "ls") == ""
    assert os.stat(folder / "ceph.client.admin.keyring").st_mode & 0o777 == 0o600
    assert ceph_cluster("up", folder).stdout == f"running: {folder}/ceph.conf\n"
    pids = [record.read_text().split()[0] for record in folder.glob("*.pid")]
    assert len(pids) == 2
    ceph_cluster("down", folder)
    assert not folder.exists()
    for pid in pids:
        assert not os.path.exists(f"/proc/{pid}") or "Z" in open(f"/proc/{pid}/stat").read()
    ceph_cluster("down", folder)


def test_several_at_once_and_a_taken_port(tmp_path):
    folders = [tmp_path / name for name in "abc"]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda folder: ceph_cluster("up", folder), folders))
    ports = {line.split(":")[2].split(",")[0] for folder in folders
             for line in (folder / "ceph.conf").read_text().splitlines() if line.startswith("mon_host")}
    assert len(ports) == 3
    done = ceph_cluster("up", tmp_path / "d", "--port", ports.pop(), check=False)
    assert done.returncode == 1 and "the monitor ended" in done.stderr and not (tmp_path / "d").exists()
    for folder in folders:
        ceph_cluster("down", folder)
