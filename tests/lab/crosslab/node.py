"""A Proxmox node: the machine's own file system under a private layer, with its own network, processes and name.

Its disk (the layer) outlives it, its memory (/run, processes) does not: `kill` is a power failure, `boot` a start.
"""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

from . import keys, network, process, sandbox
from .environment import ENVIRONMENT, PATH
from .layout import BUILD, BY_NAME, EAST, GUEST_CACHE, LAB, NODES, REPOSITORY, STAND_INS
from .namespaces import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT, mount, pivot_root
from .process import LabError, wait_until

COMMANDS = {name: f"usr/sbin/{name}" for name in
            ("qm", "pvesm", "pvesh", "pvecm", "ha-manager", "pct", "pve-guests", "pve-ha")}
COMMANDS["pveversion"] = "usr/bin/pveversion"

# Of these folders a node sees nothing of the machine's own content.
OWN = {"root": 0o700, "tmp": 0o1777, "etc/ceph": 0o755, "etc/pve": 0o755, "etc/ssh": 0o755, "var/tmp": 0o1777,
       "var/lib/ceph": 0o755, "var/log": 0o755, "var/lib/vz": 0o755, "var/lib/pve-cluster": 0o755, "home": 0o755}

DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "kvm", "fuse", "net/tun", "vhost-net")

START_ALL_SECONDS = 120

SSHD_CONFIG = f"""\
HostKey /etc/ssh/ssh_host_rsa_key
HostKey /etc/ssh/ssh_host_ecdsa_key
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
AcceptEnv LANG LC_*
SetEnv PATH={PATH} LANG=C.UTF-8
Subsystem sftp internal-sftp
"""

SSH_CONFIG = """\
Host *
    SendEnv LANG LC_*
    HashKnownHosts yes
    GSSAPIAuthentication yes
"""


def _hosts(node):
    known = list(BY_NAME[node.cluster].nodes)
    if node.cluster == EAST.name:
        known = list(NODES.values())
    lines = [f"{other.address} {other.name}.lab {other.name}" for other in known]
    return "127.0.0.1 localhost\n" + "\n".join(lines) + "\n"


def prepare(state, node):
    """Installs the node: everything on its disk that does not depend on the rest of the lab."""
    upper = state.node(node) / "upper"
    upper.mkdir(parents=True)
    os.chmod(upper, 0o755)
    for name in ("work", "root"):
        (state.node(node) / name).mkdir()
    for name, mode in OWN.items():
        folder = upper / name
        folder.mkdir(parents=True)
        os.chmod(folder, mode)
        os.setxattr(folder, "trusted.overlay.opaque", b"y")
    for name in ("root/.ssh", "etc/crossover-lab", "usr/sbin", "usr/bin", "usr/local/bin", "var/lib/vz/images", "var/lib/vz/snippets",
                 "var/lib/vz/template/iso", "var/lib/vz/dump", "var/lib/qemu-server"):
        (upper / name).mkdir(parents=True, exist_ok=True)
    os.chmod(upper / "root/.ssh", 0o700)
    keys.generate(node, upper / "etc/ssh", upper / "root/.ssh")
    files = {
        "etc/hostname": f"{node.name}\n",
        "etc/hosts": _hosts(node),
        "etc/resolv.conf": "",
        "etc/ssh/sshd_config": SSHD_CONFIG,
        "etc/ssh/ssh_config": SSH_CONFIG,
        "etc/crossover-lab/command-cost": "0\n",
    }
    for name, text in files.items():
        (upper / name).write_text(text)
    links = {
        "etc/ceph/ceph.conf": "/etc/pve/ceph.conf",
        "etc/ceph/ceph.client.admin.keyring": "/etc/pve/priv/ceph.client.admin.keyring",
        "etc/ssh/ssh_known_hosts": "/etc/pve/priv/known_hosts",
        "root/.ssh/authorized_keys": "/etc/pve/priv/authorized_keys",
        # Where a package would have put it: the agent is started by its name.
        "usr/local/bin/crossover": BUILD / "cli" / "crossover",
        **{path: STAND_INS / name for name, path in COMMANDS.items()},
    }
    for name, target in links.items():
        (upper / name).symlink_to(target)


def configure(state, node, guest):
    """Adds what became known later: the guest image, and who the administrator has logged in to."""
    upper = state.node(node) / "upper"
    (upper / "etc/crossover-lab/node.json").write_text(json.dumps({
        "node": node.name, "cluster": node.cluster, "address": node.address,
        "guest_kernel": str(GUEST_CACHE / "vmlinuz") if guest else None,
        "guest_initrd": str(GUEST_CACHE / "initrd.img") if guest else None}, indent=1) + "\n")
    if node.cluster == EAST.name:
        known = upper / "root/.ssh/known_hosts"
        known.write_text(keys.known_after_login(NODES["pve04"], state.node(NODES["pve04"]) / "upper/etc/ssh"))
        known.chmod(0o600)


def set_command_cost(state, seconds):
    """How long a Proxmox command takes before it does anything; written through the node, whose layer is mounted."""
    for node in NODES.values():
        pid = process.alive(state.record(node.name))
        root = Path(f"/proc/{pid}/root") if pid else state.node(node) / "upper"
        (root / "etc/crossover-lab/command-cost").write_text(f"{seconds}\n")


def _mount_root(state, node):
    """Runs as the node's first process: builds its file system and moves into it."""
    folder = state.node(node)
    root = folder / "root"
    socket.sethostname(node.name)
    mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work")
    _bind(REPOSITORY, root, read_only=True)
    _bind(state.pmxcfs(BY_NAME[node.cluster]), root, "/var/lib/pve-cluster")
    mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", root / "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    _mount_devices(root)
    mount("tmpfs", root / "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=256m")
    for name in ("lock/qemu-server", "lock/lxc", "qemu-server", "sshd", "shm"):
        (root / "run" / name).mkdir(parents=True)
    pivot_root(str(root))


def _bind(source, root, target=None, read_only=False):
    place = Path(f"{root}{target or source}")
    place.mkdir(parents=True, exist_ok=True)
    mount(source, place, None, MS_BIND)
    if read_only:
        mount(None, place, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def _mount_devices(root):
    dev = root / "dev"
    mount("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=755,size=1m")
    for name in DEVICES:
        real = Path("/dev", name)
        if real.exists():
            (dev / name).parent.mkdir(exist_ok=True)
            os.mknod(dev / name, real.stat().st_mode, real.stat().st_rdev)
            os.chmod(dev / name, 0o660 if name in ("kvm", "vhost-net") else 0o666)
    for name, options in (("pts", "newinstance,ptmxmode=0666,mode=620,gid=5"), ("shm", "mode=1777")):
        (dev / name).mkdir()
        mount("devpts" if name == "pts" else "tmpfs", dev / name, "devpts" if name == "pts" else "tmpfs",
              MS_NOSUID | MS_NOEXEC, options)
    for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"),
                         ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")):
        (dev / name).symlink_to(target)


def _start(*command):
    """Starts a service inside the node; it belongs to the node's init as soon as we end."""
    with open(f"/var/log/{os.path.basename(command[0])}.log", "ab") as log:
        return subprocess.Popen(command, cwd="/", env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                start_new_session=True)


def _start_services(node_name):
    """What a node does when it boots, in Proxmox's order. Runs inside the node."""
    _start(str(LAB / "crosslab/pmxcfs.py"), "/var/lib/pve-cluster", node_name, "/etc/pve")
    wait_until(lambda: os.path.exists("/etc/pve/.members"), f"/etc/pve on {node_name}")
    _start("/usr/sbin/sshd", "-D", "-e")
    wait_until(_ssh_answers, f"sshd on {node_name}")
    if os.path.exists("/usr/sbin/pve-ha"):
        _start("/usr/sbin/pve-ha", "daemon")
    if os.path.exists("/usr/sbin/pve-guests"):
        code = _start("/usr/sbin/pve-guests", "startall").wait(timeout=START_ALL_SECONDS)
        if code:
            raise LabError(f"pve-guests startall on {node_name}: exit status {code}, see its /var/log/pve-guests.log")


def _ssh_answers():
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", 22)) == 0


def _empty(folder):
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def boot(state, node):
    if process.alive(state.record(node.name)):
        return
    lab = process.alive(state.record("lab"))
    _empty(state.node(node) / "upper/tmp")
    pid = sandbox.create(state.record(node.name), lambda: _mount_root(state, node), state.log(node.name), within=lab)
    try:
        network.plug(state, BY_NAME[node.cluster], node.name, pid, node.address)
        sandbox.Task(_start_services, node.name, within=pid).result()
    except BaseException:
        kill(state, node)
        raise


def kill(state, node):
    """Power failure: nobody in the node gets to say goodbye."""
    process.kill(state.record(node.name))
    network.unplug(state, BY_NAME[node.cluster], node.name)
