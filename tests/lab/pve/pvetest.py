"""How the tests run the stand-ins: a plain folder that plays a node, guests in it, transcripts to compare with."""
import contextlib
import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
LAB = HERE.parent


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return value


class Node:
    """pve1, alone or with other nodes' folders beside it."""

    def __init__(self, root, name="pve1"):
        self.root, self.name, self.guests = Path(root), name, {}
        for folder in (f"etc/pve/nodes/{name}/qemu-server", f"etc/pve/nodes/{name}/lxc", "etc/pve/priv/ceph", "etc/pve/ha",
                       "etc/crossover-lab", "var/run/qemu-server", "var/lock/qemu-server", "var/lib/vz/template/iso"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "etc/pve/local").symlink_to(f"nodes/{name}")
        self.write("etc/crossover-lab/node.json", f'{{"node": "{name}", "cluster": "lab", "address": "192.0.2.1"}}')

    def write(self, path, text):
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())

    def read(self, path):
        return (self.root / path).read_bytes().decode()

    def config_path(self, vmid):
        return f"etc/pve/nodes/{self.name}/qemu-server/{vmid}.conf"

    def vm(self, vmid, text):
        self.write(self.config_path(vmid), text)

    def conf(self, vmid):
        return self.read(self.config_path(vmid))

    def environment(self):
        return {**os.environ, "PVE_ROOT": str(self.root), "TZ": "UTC"}

    def run(self, command):
        """(what it printed on both streams, as to a terminal; exit status)."""
        words = shlex.split(command) if isinstance(command, str) else command
        done = subprocess.run([str(HERE / "bin" / words[0]), *words[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=self.environment(), check=False, timeout=120)
        try:
            return done.stdout.decode("utf-8"), done.returncode
        except UnicodeDecodeError:
            return done.stdout.decode("latin-1"), done.returncode

    def good(self, command):
        output, code = self.run(command)
        assert code == 0, f"{command}: {output}"
        return output

    def fake_guest(self, vmid, mode=""):
        """A guest that only answers; see fake_qemu.py."""
        self.end_guest(vmid)
        run = self.root / "var/run/qemu-server"
        for name in ("qmp", "qga", "pid"):
            (run / f"{vmid}.{name}").unlink(missing_ok=True)
        self.mode(vmid, mode)
        pidfile = run / f"{vmid}.pid"
        process = subprocess.Popen([sys.executable, str(HERE / "fake_qemu.py"), str(run), str(vmid),
                                    str(self.root / f"mode.{vmid}"), "-pidfile", str(pidfile)])
        self.guests[vmid] = process
        wait_for(pidfile.exists, 10, "the fake guest's pid file")

    def mode(self, vmid, words):
        self.write(f"mode.{vmid}", words)

    def end_guest(self, vmid):
        process = self.guests.pop(vmid, None)
        if process:
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def held_lock(self, vmid):
        with open(self.root / f"var/lock/qemu-server/lock-{vmid}.conf", "a", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def down(self):
        """Ends what was started here, by pid: fakes, and real guests by their pid files."""
        for vmid in list(self.guests):
            self.end_guest(vmid)
        for pidfile in (self.root / "var/run/qemu-server").glob("*.pid"):
            pid = int(pidfile.read_text())
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if os.fsencode(pidfile) in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)


class Transcript:
    """A session with the real commands; `step` runs the next one like it here and compares output and exit status."""

    def __init__(self, name):
        text = (HERE / "transcripts" / name).read_text(encoding="utf-8", errors="replace")
        self.steps = [(match[1], match[2], int(match[3])) for match in
                      re.finditer(r"(?ms)^\$ ((?:(?!^\$ ).)*?)\n((?:(?!^\$ ).)*?)   -> rc=(\d+)$", text)]
        self.position = 0

    @staticmethod
    def normal(text):
        """Without what differs from run to run: pids, uptimes, dates."""
        text = re.sub(r"(?m)^(\s+\d+ .{20} (?:running|stopped) .* )([1-9]\d*)\s*$", r"\1PID", text)
        text = re.sub(r"(?m)^(pid|uptime): \d+$", r"\1: N", text)
        text = re.sub(r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", "DATE", text)
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)
        return re.sub(r"\.conf\.tmp\.\d+", ".conf.tmp.PID", text)

    def next(self, command):
        for index in range(self.position, len(self.steps)):
            if self.steps[index][0] == command:
                self.position = index + 1
                return self.steps[index]
        raise AssertionError(f"the transcript has no further `{command}`")

    def step(self, node, command, code=None, arguments=None):
        """`code`: what to expect where the transcript's is an accident of errno that the stand-in does not repeat."""
        _, expected, expected_code = self.next(command)
        output, status = node.run(arguments or command)
        assert self.normal(output) == self.normal(expected), command
        assert status == (expected_code if code is None else code), f"{command}: {output}"


def tool(name, variable):
    """A program of the lab, or the one the environment names."""
    path = Path(os.environ.get(variable, LAB / name))
    if not path.exists():
        pytest.skip(f"{path} is not there (set {variable})")
    return path
