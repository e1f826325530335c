"""The programs crossover runs on a node, held to what their callers rely on.

A freezing guest is played by a thread that speaks the agent's protocol on the socket QEMU would offer. The test runs in
a mount namespace of its own (see CMakeLists.txt), so that /var/run/qemu-server is private.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "libcrossover/src/pve/scripts"
SOCKETS = Path("/var/run/qemu-server")
PRIVATE = os.environ.get("CROSSOVER_PRIVATE_RUN") == "1"


def perl(script, *arguments, **options):
    return subprocess.Popen(["perl", SCRIPTS / f"{script}.pl", *map(str, arguments)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def finish(process, data=b""):
    out, errors = process.communicate(data, timeout=30)
    assert process.returncode == 0, errors.decode()
    return out


class Agent:
    """A guest agent that freezes, or does what `behave` says instead for a command."""

    def __init__(self, vmid, behave=None):
        self.frozen = False
        self.commands = []
        self.behave = behave or {}
        self.path = SOCKETS / f"{vmid}.qga"
        SOCKETS.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(self.path))
        self.server.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb", buffering=0) as stream:
                stream.write(b'{"return": "left over from before"}\n')
                for line in stream:
                    request = json.loads(line.lstrip(b"\xff"))
                    try:
                        self.answer(stream, request)
                    except OSError:
                        break

    def answer(self, stream, request):
        command = request["execute"].removeprefix("guest-")
        if command == "sync-delimited":
            stream.write(b"\xff" + json.dumps({"return": request["arguments"]["id"]}).encode() + b"\n")
            return
        self.commands.append(command)
        reply = {"return": {}}
        if command in self.behave:
            reply = self.behave[command](self)
        elif command == "fsfreeze-freeze":
            self.frozen = True
            reply = {"return": 2}
        elif command == "fsfreeze-thaw":
            self.frozen = False
            reply = {"return": 2}
        elif command == "fsfreeze-status":
            reply = {"return": "frozen" if self.frozen else "thawed"}
        if reply is not None:
            stream.write(json.dumps(reply).encode() + b"\n")

    def close(self):
        self.server.close()


@pytest.fixture
def agent():
    if not PRIVATE:
        pytest.skip("needs a /run of its own; ctest provides it")
    agents = []

    def make(behave=None):
        agents.append(Agent(100, behave))
        return agents[-1]

    yield make
    for one in agents:
        one.close()


def test_a_guest_is_frozen_until_the_input_ends(agent):
    guest = agent()
    process = perl("freeze", 100, 30)
    assert process.stdout.readline() == b"frozen 2\n"
    assert guest.frozen
    assert finish(process).startswith(b"thawed ")
    assert not guest.frozen
    assert guest.commands[:2] == ["ping", "fsfreeze-freeze"] and guest.commands[-1] == "fsfreeze-status"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_thaws(agent, number):
    guest = agent()
    process = perl("freeze", 100, 30)
    assert process.stdout.readline() == b"frozen 2\n"
    process.send_signal(number)
    assert process.stdout.readline().startswith(b"thawed ")
    assert process.wait(10) == 0
    assert not guest.frozen


def test_the_deadline_thaws_and_says_so(agent):
    guest = agent()
    process = perl("freeze", 100, 0.2)
    assert process.stdout.readline() == b"frozen 2\n"
    assert process.stdout.readline().startswith(b"expired 0.")
    assert not guest.frozen


def test_nobody_reading_does_not_keep_it_frozen(agent):
    guest = agent()
    process = perl("freeze", 100, 30)
    assert process.stdout.readline() == b"frozen 2\n"
    process.stdout.close()
    process.stdin.close()
    process.wait(10)
    assert not guest.frozen


def test_an_agent_that_refuses_is_told_with_its_words_and_left_thawed(agent):
    guest = agent({"fsfreeze-freeze": lambda _: {"error": {"class": "GenericError", "desc": "hook failed"}}})
    assert finish(perl("freeze", 100, 30)) == b"refused hook failed\n"
    assert "fsfreeze-thaw" in guest.commands


def test_a_guest_somebody_else_froze_stays_theirs(agent):
    text = "Command guest-fsfreeze-freeze has been disabled: the agent is in frozen state"
    guest = agent({"fsfreeze-freeze": lambda _: {"error": {"class": "GenericError", "desc": text}}})
    guest.frozen = True
    assert finish(perl("freeze", 100, 30)) == f"refused {text}\n".encode()
    assert guest.frozen and "fsfreeze-thaw" not in guest.commands


def test_a_freeze_that_hangs_is_given_up_and_thawed(agent):
    def hang(guest):
        guest.frozen = True

    guest = agent({"fsfreeze-freeze": hang})
    assert finish(perl("freeze", 100, 0.3)) == b"late\n"
    assert not guest.frozen


def test_a_silent_agent_is_told_from_one_that_is_not_there(agent):
    agent({"ping": lambda _: None})
    assert finish(perl("freeze", 100, 30)) == b"silent its agent does not answer\n"
    assert finish(perl("freeze", 999, 30)).startswith(b"silent its agent's socket cannot be opened: ")


def test_thawing_is_tried_until_the_guest_confirms(agent):
    attempts = []

    def stubborn(guest):
        attempts.append(1)
        guest.frozen = len(attempts) < 3
        return {"return": 0}

    guest = agent({"fsfreeze-thaw": stubborn})
    process = perl("freeze", 100, 30)
    assert process.stdout.readline() == b"frozen 2\n"
    assert finish(process).startswith(b"thawed ")
    assert len(attempts) == 3 and not guest.frozen


def replace(path, expect, old=b"", new=b"new\n", lock="-", wait=0):
    return finish(perl("replace_file", lock, path, expect, len(old), wait), old + new)


def mtime(path):
    return str(int(path.stat().st_mtime))


def test_a_file_is_created_only_where_none_is(tmp_path):
    path = tmp_path / "100.conf"
    assert replace(path, "absent").split()[0] == b"written"
    assert path.read_bytes() == b"new\n"
    assert replace(path, "absent", new=b"again\n") == b"changed\n"
    assert path.read_bytes() == b"new\n"


def test_a_file_is_replaced_only_if_it_is_what_was_seen(tmp_path):
    path = tmp_path / "100.conf"
    path.write_bytes(b"\xff old \r\n")
    assert replace(path, "bytes", b"older") == b"changed\n"
    assert replace(path, "12345", b"\xff old \r\n") == b"changed\n"
    assert replace(path, mtime(path), b"\xff old \r\n", b"\x00 no newline") == f"written {mtime(path)}\n".encode()
    assert path.read_bytes() == b"\x00 no newline"
    path.unlink()
    assert replace(path, "bytes", b"\x00 no newline") == b"changed\n"
    assert not list(tmp_path.iterdir())


def test_an_empty_file_can_be_expected_and_written(tmp_path):
    path = tmp_path / "105.conf"
    path.write_bytes(b"")
    assert replace(path, "bytes", b"", b"name: x\n").startswith(b"written ")
    assert replace(path, "bytes", b"name: x\n", b"").startswith(b"written ")
    assert path.read_bytes() == b""


def test_pves_lock_is_waited_for_and_respected(tmp_path):
    path, lock = tmp_path / "100.conf", tmp_path / "locks/lock-100.conf"
    assert replace(path, "absent", lock=lock).startswith(b"written ")
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        begin = time.monotonic()
        assert replace(path, "any", lock=lock, wait=0.3, new=b"x") == b"locked\n"
        assert time.monotonic() - begin >= 0.3
        assert path.read_bytes() == b"new\n"
        process = perl("replace_file", lock, path, "any", 0, 20)
        process.stdin.write(b"after\n")
        process.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        fcntl.flock(held, fcntl.LOCK_UN)
        assert process.wait(20) == 0
    assert path.read_bytes() == b"after\n"


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    process = perl("replace_file", "-", tmp_path / "missing/100.conf", "absent", 0, 0)
    _, errors = process.communicate(b"x", timeout=30)
    assert process.returncode != 0 and b"cannot create" in errors
    assert not list(tmp_path.iterdir())


def test_a_file_is_read_with_its_time(tmp_path):
    path = tmp_path / "100.conf"
    assert finish(perl("read_file", path)) == b"absent\n"
    path.write_bytes(b"a\x00\r\nb")
    assert finish(perl("read_file", path)) == f"present {mtime(path)}\n".encode() + b"a\x00\r\nb"
    path.write_bytes(b"")
    assert finish(perl("read_file", path)) == f"present {mtime(path)}\n".encode()


def hold(path, old, new, lock="-", wait=0):
    process = perl("replace_file", lock, path, "bytes", len(old), wait, len(new))
    process.stdin.write(old + new)
    process.stdin.flush()
    return process, process.stdout.readline()


@pytest.mark.parametrize("end", ["input", signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_file_is_held_until_input_ends_or_a_signal_comes(tmp_path, end):
    path = tmp_path / "100.conf"
    path.write_bytes(b"name: x\n")
    process, said = hold(path, b"name: x\n", b"lock: backup\nname: x\n", tmp_path / "lock", 1)
    assert said == f"written {mtime(path)}\n".encode()
    assert path.read_bytes() == b"lock: backup\nname: x\n"
    if end == "input":
        process.stdin.close()
    else:
        process.send_signal(end)
    assert process.stdout.read().startswith(b"written ")
    assert process.wait(30) == 0 and path.read_bytes() == b"name: x\n"


def test_a_held_file_that_somebody_changed_stays_as_it_is(tmp_path):
    path = tmp_path / "100.conf"
    path.write_bytes(b"a")
    process, _ = hold(path, b"a", b"b")
    path.write_bytes(b"c")
    assert finish(process) == b"changed\n" and path.read_bytes() == b"c"
    process, said = hold(path, b"a", b"b")
    assert said == b"changed\n" and finish(process) == b"" and path.read_bytes() == b"c"


def test_a_held_file_is_put_back_though_nobody_listens(tmp_path):
    path = tmp_path / "100.conf"
    path.write_bytes(b"a")
    process, _ = hold(path, b"a", b"b")
    process.stdout.close()
    process.stderr.close()
    process.stdin.close()
    process.wait(30)
    assert path.read_bytes() == b"a"
