"""/etc/pve answers as Proxmox's own file system does: data/pmxcfs.txt is what the real one printed."""

import json
import re
import shlex
import subprocess

import pytest

from labtest import HERE
from crosslab import process
from crosslab.shared_tree import SharedTree

NODES = ("pve1", "pve2")


class Cluster:
    """Two nodes' file systems over one folder, mounted where only the sandbox sees them."""

    def __init__(self, folder, pid):
        self.pid = pid
        self.folder = folder / "shared"
        self.mounts = {name: folder / name for name in NODES}
        SharedTree.prepare(self.folder, "lab", [(name, index + 1, f"192.0.2.{index + 1}")
                                                for index, name in enumerate(NODES)])
        for name, mount in self.mounts.items():
            mount.mkdir()
            # A folder, so that nobody writes below a mount that is not there yet.
            self._enter(f"setsid {HERE}/crosslab/pmxcfs.py {self.folder} {name} {mount} > {folder}/{name}.log 2>&1 &")
            process.wait_until(lambda: self.run("ls", "-a", mount).stdout.count(".members"), f"mount {mount}")

    def _enter(self, script):
        subprocess.run(["nsenter", "-t", str(self.pid), "-m", "-p", "sh", "-c", script], check=True)

    def run(self, *command, node="pve1", below="."):
        return subprocess.run(["nsenter", "-t", str(self.pid), "-m", "-p", "sh", "-c", 'cd "$0" && exec "$@"',
                               self.mounts[node] / below, *command], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/usr/sbin"})

    def shell(self, script, node="pve1"):
        return self.run("sh", "-c", script, node=node)

    def read(self, name, node="pve1"):
        return self.shell(f"cat {name}", node).stdout

    def vmids(self, node="pve1"):
        return json.loads(self.read(".vmlist", node)).get("ids", {})


@pytest.fixture
def cluster(tmp_path, lone_sandbox):
    made = Cluster(tmp_path, lone_sandbox)
    assert made.shell("mkdir nodes priv && mkdir nodes/pve1 nodes/pve2 && "
                      "mkdir nodes/pve1/qemu-server nodes/pve1/lxc nodes/pve2/qemu-server nodes/pve2/lxc"
                      ).returncode == 0
    return made


def transcript(text):
    """(command, output, exit status) of each step."""
    for step in text.split("$ ")[1:]:
        command, _, rest = step.partition("\n")
        output, _, code = rest.rpartition("   -> rc=")
        for shell in ("sh -c ", "python3 -c "):
            if command.startswith(shell):
                yield [*shell.split(), command[len(shell):]], output, int(code)
                break
        else:
            yield shlex.split(command), output, int(code)


def plain(text):
    """Without what differs from machine to machine: dates, the size of /etc/hosts, typographic quotes."""
    text = re.sub(r"[A-Z][a-z]{2} [ \d]\d (\d\d:\d\d| \d{4})", "DATE", text)
    text = re.sub(r"\d+ DATE ([^\n]*/hosts)", r"SIZE DATE \1", text)
    return text.replace("‘", "'").replace("’", "'")


def test_transcript(cluster):
    """Left out of what was recorded: `mv` to a name that is refused, whose message is mv's guess (it takes "exists" for
    a file it can look at); the rename itself is there."""
    assert cluster.shell('echo "name: a" > nodes/pve1/qemu-server/200.conf').returncode == 0
    recorded = (HERE / "data/pmxcfs.txt").read_text()
    for command, output, code in transcript(recorded):
        command = [word.replace("/etc/pve", str(cluster.mounts["pve1"])) for word in command]
        done = cluster.run(*command, below="nodes")
        answer = done.stdout.replace(str(cluster.mounts["pve1"]), "/etc/pve")
        assert (plain(answer), done.returncode) == (plain(output), code), command


def test_looks_like_a_fuse_mount(cluster):
    mount = cluster.mounts["pve1"]
    line = next(line for line in cluster.read("/proc/mounts").splitlines() if str(mount) in line)
    assert line == f"/dev/fuse {mount} fuse rw,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions," \
                   "allow_other 0 0"
    answer = cluster.run("stat", "-f", ".").stdout
    assert "Namelen: 256     Type: fuseblk" in answer and "Blocks: Total: 32768 " in answer
    assert "Inodes: Total: 262144 " in answer


def test_modes_and_owner(cluster):
    cluster.shell("mkdir priv/ceph nodes/pve1/priv; touch storage.cfg priv/a priv/ceph/b nodes/pve1/priv/c")
    def look(path):
        return cluster.run("stat", "-c", "%A %U:%G %h", path).stdout.strip()
    assert look(".") == "drwxr-xr-x root:www-data 2"
    assert look("storage.cfg") == "-rw-r----- root:www-data 1"
    assert look("nodes/pve1") == "drwxr-xr-x root:www-data 2"
    assert look("priv") == look("priv/ceph") == look("nodes/pve1/priv") == "drwx------ root:www-data 2"
    assert look("priv/a") == look("priv/ceph/b") == look("nodes/pve1/priv/c") == "-rw------- root:www-data 1"
    assert look(".vmlist") == "-r--r----- root:www-data 1"
    assert cluster.run("chmod", "600", "priv/a").returncode == 0
    assert cluster.run("chmod", "640", "priv/a").returncode == 1


def test_made_up_names(cluster):
    for node in NODES:
        links = cluster.shell("readlink local qemu-server lxc", node).stdout.split()
        assert links == [f"nodes/{node}", f"nodes/{node}/qemu-server", f"nodes/{node}/lxc"]
    assert "Permission denied" in cluster.shell("echo x > .vmlist").stdout
    assert "Permission denied" in cluster.shell("rm -f local").stdout
    assert cluster.shell("echo 1 > .debug").returncode == 0


def test_empty_vmlist_and_members(cluster):
    assert cluster.read(".vmlist") == '{\n"version": 0\n\n}\n'
    assert cluster.read(".members", "pve2") == (
        '{\n"nodename": "pve2",\n"version": 1,\n'
        '"cluster": { "name": "lab", "version": 2, "nodes": 2, "quorate": 1 },\n"nodelist": {\n'
        '  "pve1": { "id": 1, "online": 1, "ip": "192.0.2.1"},\n'
        '  "pve2": { "id": 2, "online": 1, "ip": "192.0.2.2"}\n  }\n}\n')


def test_version_counts_changes(cluster):
    before = json.loads(cluster.read(".version"))
    cluster.shell("echo a > storage.cfg; echo b > nodes/pve1/qemu-server/100.conf")
    after = json.loads(cluster.read(".version", "pve2"))
    assert before["storage.cfg"] == 0 and after["storage.cfg"] == 2
    assert (before["vmlist"], after["vmlist"]) == (0, 2)


def test_other_node_sees_changes_at_once(cluster):
    for number in range(20):
        cluster.shell(f"echo {number} > nodes/pve1/qemu-server/100.conf")
        assert cluster.read("nodes/pve1/qemu-server/100.conf", "pve2") == f"{number}\n"
    assert cluster.vmids("pve2")["100"]["node"] == "pve1"
    cluster.shell("mv nodes/pve1/qemu-server/100.conf nodes/pve2/qemu-server/100.conf")
    assert cluster.shell("cat qemu-server/100.conf", "pve2").stdout == "19\n"
    assert cluster.vmids()["100"] == {"node": "pve2", "type": "qemu", "version": 41}
    cluster.shell("rm qemu-server/100.conf", "pve2")
    assert cluster.vmids() == {} and "100.conf" not in cluster.shell("ls nodes/pve2/qemu-server").stdout


def test_one_owner_per_vmid(cluster):
    """Both nodes create the same guests at the same time: each has one owner, the other is told."""
    scripts = [f"for i in $(seq 100 130); do echo x > nodes/{node}/qemu-server/$i.conf; done" for node in NODES]
    running = [subprocess.Popen(["nsenter", "-t", str(cluster.pid), "-m", "-p", "sh", "-c", f"cd {mount}; {script}"],
                                stderr=subprocess.PIPE, text=True)
               for mount, script in zip(cluster.mounts.values(), scripts)]
    refused = sum(child.communicate()[1].count("File exists") for child in running)
    owned = [len(cluster.shell(f"ls nodes/{node}/qemu-server").stdout.split()) for node in NODES]
    assert sum(owned) == 31 == len(cluster.vmids()) and refused == 31


def test_same_vmid_may_change_type_by_rename(cluster):
    cluster.shell("echo a > nodes/pve1/qemu-server/100.conf; echo b > nodes/pve2/qemu-server/101.conf")
    assert cluster.shell("mv nodes/pve1/qemu-server/100.conf nodes/pve2/lxc/100.conf").returncode == 0
    assert cluster.vmids()["100"]["type"] == "lxc"
    # Not mv, which looks at the target first and has words of its own for what it sees there.
    rename = "import os; os.rename('nodes/pve2/qemu-server/101.conf', 'nodes/pve1/qemu-server/100.conf')"
    assert "File exists" in cluster.shell(f'/usr/bin/python3 -c "{rename}"').stdout


def test_directories(cluster):
    assert "Directory not empty" in cluster.run("mv", "-T", "nodes", "knots").stdout
    assert cluster.run("mv", "-T", "nodes/pve2/lxc", "nodes/pve2/ct").returncode == 0
    assert "No such file or directory" in cluster.run("touch", "nodes/pve9/qemu-server/100.conf").stdout


def test_cluster_locks(cluster):
    """Proxmox locks with directories: breaking one that is fresh is refused, one two minutes old is broken."""
    touch = 'import os; os.utime("priv/lock/x", (0, 0))'
    cluster.shell("mkdir priv/lock priv/lock/x")
    assert "Permission denied" in cluster.run("python3", "-c", touch, node="pve2").stdout
    cluster.run("touch", "-d", "-3 min", cluster.folder / "tree/priv/lock/x")
    cluster.run("python3", "-c", touch, node="pve2")
    assert cluster.run("mkdir", "priv/lock/x").returncode == 0


def test_without_quorum(cluster):
    cluster.shell('echo "name: x" > nodes/pve1/qemu-server/100.conf; touch nodes/pve1/other')
    (cluster.folder / "no-quorum").touch()
    listing = cluster.shell("stat -c '%A %n' nodes nodes/pve1/qemu-server/100.conf priv local .vmlist .debug .").stdout
    assert listing == ("dr-xr-xr-x nodes\n-r--r----- nodes/pve1/qemu-server/100.conf\ndr-x------ priv\n"
                       "lr-xr-xr-x local\n-r--r----- .vmlist\n-rw-r----- .debug\ndrwxr-xr-x .\n")
    config = "nodes/pve1/qemu-server/100.conf"
    for script, answer in (
            (f"echo y > {config}", f"sh: 1: cannot create {config}: Permission denied\n"),
            ("echo y > nodes/pve1/qemu-server/105.conf",
             "sh: 1: cannot create nodes/pve1/qemu-server/105.conf: Permission denied\n"),
            (f"echo y >> {config}", "sh: 1: echo: echo: I/O error\n"),
            (f"mv {config} nodes/pve2/qemu-server/100.conf",
             f"mv: cannot move '{config}' to 'nodes/pve2/qemu-server/100.conf': Permission denied\n"),
            (f"rm -f {config}", f"rm: cannot remove '{config}': Permission denied\n"),
            ("mkdir zz", "mkdir: cannot create directory 'zz': Permission denied\n")):
        done = cluster.shell(script)
        assert (plain(done.stdout), done.returncode != 0) == (answer, True)
    assert cluster.read(config) == "name: x\n"
    assert json.loads(cluster.read(".members"))["cluster"]["quorate"] == 0
    (cluster.folder / "no-quorum").unlink()
    assert cluster.shell(f"echo y > {config}").returncode == 0


def test_a_write_to_an_open_file_fails_when_the_quorum_goes(cluster):
    script = ("import errno, os, sys\nhandle = os.open('t', os.O_WRONLY | os.O_CREAT)\nopen(sys.argv[1], 'w')\n"
              "try:\n os.write(handle, b'x')\nexcept OSError as error:\n print(errno.errorcode[error.errno])")
    assert cluster.run("python3", "-c", script, cluster.folder / "no-quorum").stdout == "EIO\n"
