"""The programs crossover runs on a node, held to what their callers rely on.

A freezing guest is played by a thread that speaks the agent's protocol on the socket QEMU would offer; where qm is asked it
is the lab's, with a guest that only answers. The test runs in a mount namespace of its own (see CMakeLists.txt), so that
/var/run/qemu-server is private.
"""

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[2] / "lab"
sys.path.insert(0, str(LAB / "pve"))
from pvetest import Node  # noqa: E402

SCRIPTS = Path(__file__).resolve().parents[3] / "libcrossover/src/pve/scripts"
SOCKETS = Path("/var/run/qemu-server")
PRIVATE = os.environ.get("CROSSOVER_PRIVATE_RUN") == "1"


def perl(script, *arguments, **options):
    return subprocess.Popen(["perl", SCRIPTS / f"{script}.pl", *map(str, arguments)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


class Clock:
    """What a script takes for its clock: it stands where the test sets it."""

    def __init__(self, folder):
        self.file, self.looks = folder / "clock", folder / "looks"
        self.looks.touch()
        self.set(0)

    def set(self, seconds):
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds}\n")
        new.rename(self.file)

    def perl(self, script, *arguments, **options):
        real = "return clock_gettime(CLOCK_MONOTONIC)"
        text = (SCRIPTS / f"{script}.pl").read_text()
        assert text.count(real) == 1
        fake = (f"open my $looks, '>>', '{self.looks}';"
                "syswrite $looks, 'x' if ((caller 1)[3] // '') eq 'main::wait_for_end'; close $looks;"
                f"open my $clock, '<', '{self.file}'; return 0 + <$clock>")
        return subprocess.Popen(["perl", "-e", text.replace(real, fake), "--", *map(str, arguments)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def wait_for_looks(self, process, count):
        until = time.monotonic() + 20
        while self.looks.stat().st_size < count:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.01)

    def begin(self, process):
        """Returns once the script has begun to wait: with a look for the last beat, and one for how long it may wait."""
        self.wait_for_looks(process, 2)

    def go_on(self, process, seconds, said=b"beat\n"):
        """Sets the clock, says something, and returns once the script has taken in both, and looked as above."""
        self.begin(process)
        self.set(seconds)
        before = self.looks.stat().st_size
        process.stdin.write(said)
        process.stdin.flush()
        self.wait_for_looks(process, before + 2)


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
        self.path.unlink(missing_ok=True)


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


def freeze(seconds=30, vmid=100, silence=30, **options):
    return perl("hold_guest", "freeze", vmid, seconds, silence, **options)


def held(process):
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_guest_is_frozen_until_the_input_ends(agent):
    guest = agent()
    process = held(freeze())
    assert guest.frozen
    assert finish(process).startswith(b"released ")
    assert not guest.frozen
    assert guest.commands == ["fsfreeze-status", "fsfreeze-freeze", "fsfreeze-thaw", "fsfreeze-status"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_thaws(agent, number):
    guest = agent()
    process = held(freeze())
    process.send_signal(number)
    assert process.stdout.readline().startswith(b"released ")
    assert process.wait(10) == 0
    assert not guest.frozen


def test_the_deadline_thaws_and_says_so(agent):
    guest = agent()
    process = held(freeze(0.2))
    said = process.stdout.readline()
    assert said.startswith(b"expired ") and 0.2 <= float(said.split()[1]) < 5
    assert not guest.frozen


def test_a_freeze_lasts_from_beat_to_beat_and_goes_on_without_one(agent, tmp_path):
    guest, clock = agent(), Clock(tmp_path)
    process = held(clock.perl("hold_guest", "freeze", 100, 3600, 30))
    for seconds in (20, 40, 60):
        clock.go_on(process, seconds)
        assert guest.frozen
    clock.go_on(process, 89, b"be")
    clock.go_on(process, 118, b"at\nbeat\n")
    assert guest.frozen
    clock.set(148)
    assert process.stdout.readline() == b"silent 148.000\n"
    assert process.wait(10) == 0 and not guest.frozen


def test_beats_do_not_make_a_freeze_longer(agent, tmp_path):
    guest, clock = agent(), Clock(tmp_path)
    process = held(clock.perl("hold_guest", "freeze", 100, 50, 30))
    clock.go_on(process, 25)
    clock.go_on(process, 49)
    clock.set(50)
    assert process.stdout.readline() == b"expired 50.000\n"
    assert process.wait(10) == 0 and not guest.frozen


def test_a_line_that_is_no_beat_thaws(agent):
    guest = agent()
    process = held(freeze())
    process.stdin.write(b"beat\nbeat\nend\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith(b"released ")
    assert process.wait(10) == 0 and not guest.frozen


def test_nobody_reading_does_not_keep_it_frozen(agent):
    guest = agent()
    process = held(freeze())
    process.stdout.close()
    process.stdin.close()
    process.wait(10)
    assert not guest.frozen


def error(text, kind="GenericError"):
    return {"error": {"class": kind, "desc": text}}


def test_an_agent_that_refuses_is_told_with_its_words_and_left_thawed(agent):
    guest = agent({"fsfreeze-freeze": lambda _: error("hook failed")})
    assert finish(freeze()) == b"refused hook failed\n"
    assert "fsfreeze-thaw" in guest.commands


def test_an_agent_that_cannot_freeze_at_all(agent):
    guest = agent({"fsfreeze-status": lambda _: error("this feature or command is not currently supported")})
    assert finish(freeze()) == b"refused this feature or command is not currently supported\n"
    assert guest.commands == ["fsfreeze-status"]


def test_a_guest_somebody_else_froze_stays_theirs(agent):
    guest = agent()
    guest.frozen = True
    assert finish(freeze()) == b"refused its file systems are frozen already, by somebody else\n"
    assert guest.frozen and guest.commands == ["fsfreeze-status"]


def test_a_guest_somebody_else_was_quicker_to_freeze_stays_theirs(agent):
    text = "Command guest-fsfreeze-freeze has been disabled: the agent is in frozen state"
    guest = agent({"fsfreeze-freeze": lambda _: error(text, "CommandNotFound")})
    assert finish(freeze()) == f"refused {text}\n".encode()
    assert "fsfreeze-thaw" not in guest.commands


def test_a_freeze_that_hangs_is_given_up_and_thawed(agent):
    def hang(guest):
        guest.frozen = True

    guest = agent({"fsfreeze-freeze": hang})
    assert finish(freeze(0.3)) == b"late\n"
    assert not guest.frozen


def test_a_silent_agent_is_told_from_one_that_is_not_there(agent, tmp_path):
    agent({"fsfreeze-status": lambda _: None})
    assert finish(freeze()) == b"refused its agent does not answer\n"
    said = finish(freeze(vmid=999, env={**os.environ, "PATH": f"{tmp_path}"}, executable="/usr/bin/perl"))
    assert said == (b"refused its agent's socket cannot be opened: No such file or directory; "
                    b"qm: No such file or directory\n")


def test_a_socket_that_lets_nobody_in_is_given_up(agent):
    guest = agent()
    guest.close()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(guest.path))
        server.listen(0)
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(str(guest.path))
            assert finish(freeze()) == b"refused its agent does not answer\n"


def test_thawing_is_tried_until_the_guest_confirms(agent):
    attempts = []

    def stubborn(guest):
        attempts.append(1)
        guest.frozen = len(attempts) < 3
        return error("the thaw hook failed") if guest.frozen else {"return": 2}

    guest = agent({"fsfreeze-thaw": stubborn})
    assert finish(held(freeze())).startswith(b"released ")
    assert len(attempts) == 3 and not guest.frozen


def test_a_guest_that_stays_frozen_is_told_of_and_thawed_later(agent):
    """Time is made to pass more quickly for the script, so that nobody waits a minute."""
    wanted = threading.Event()

    def stuck(guest):
        guest.frozen = not wanted.is_set()
        return {"return": 0 if guest.frozen else 2}

    guest = agent({"fsfreeze-thaw": stuck})
    (SOCKETS / "100.pid").write_text(f"{os.getpid()}\n")
    hasty = "s/return clock_gettime\\(CLOCK_MONOTONIC\\)/return 100 * clock_gettime(CLOCK_MONOTONIC)/"
    script = subprocess.run(["sed", "-E", hasty, SCRIPTS / "hold_guest.pl"], check=True, capture_output=True, text=True).stdout
    assert "100 * clock_gettime" in script
    process = held(subprocess.Popen(["perl", "-e", script, "--", "freeze", "100", "3000", "3000"], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE))
    assert finish(process).startswith(b"stuck ")
    assert guest.frozen
    wanted.set()
    until = time.monotonic() + 20
    while guest.frozen:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_qemu_that_is_gone_is_not_thawed_any_more_though_its_number_is_in_use(agent):
    agent({"fsfreeze-thaw": lambda _: error("the thaw hook failed"), "fsfreeze-status": lambda guest: {
        "return": "frozen" if guest.frozen else "thawed"}})
    qemu = subprocess.Popen(["sleep", "1000"])
    (SOCKETS / "100.pid").write_text(f"{qemu.pid}\n")
    hasty = (SCRIPTS / "hold_guest.pl").read_text().replace("return clock_gettime", "return 100 * clock_gettime")
    # As long as a process of the script is there, it has this open.
    alive, theirs = os.pipe()
    process = held(subprocess.Popen(["perl", "-e", hasty, "--", "freeze", "100", "3000", "3000"], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, pass_fds=[theirs]))
    os.close(theirs)
    assert finish(process).startswith(b"stuck ")
    assert not select.select([alive], [], [], 1.5)[0], "it goes on trying"
    (SOCKETS / "100.pid").write_text(f"{os.getpid()}\n")
    qemu.kill()
    qemu.wait()
    assert select.select([alive], [], [], 20)[0]
    os.close(alive)


@pytest.mark.parametrize("reply, said", [({"return": 0}, b"lost somebody else thawed it\n"), (
    error("couldn't hold writes: fsfreeze is limited up to 10 seconds"),
    b"lost couldn't hold writes: fsfreeze is limited up to 10 seconds\n")])
def test_a_freeze_that_did_not_last_is_told_of(agent, reply, said):
    guest = agent({"fsfreeze-thaw": lambda _: reply})
    process = held(freeze())
    guest.frozen = False
    assert finish(process) == said


@pytest.fixture
def pve(tmp_path):
    """A node with a guest that answers the stand-in's qm alone: there is no socket where the real one's would be."""
    if not PRIVATE:
        pytest.skip("needs a /run of its own; ctest provides it")
    made = Node(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    made.vm(100, "agent: 1\nmemory: 512\nlock: backup\n")
    made.fake_guest(100)
    made.path = f"{LAB / 'pve' / 'bin'}:{os.environ['PATH']}"
    yield made
    made.down()
    shutil.rmtree(made.root)


def hold_by_qm(pve, way, seconds=60):
    return perl("hold_guest", way, 100, seconds, 30, env={**pve.environment(), "PATH": pve.path})


def fsfreeze_status(pve):
    return pve.good("qm guest cmd 100 fsfreeze-status")


NO_SOCKET = "refused its agent's socket cannot be opened: No such file or directory; "


def test_without_a_socket_qm_freezes(pve):
    process = held(hold_by_qm(pve, "freeze"))
    assert fsfreeze_status(pve) == "frozen\n"
    assert finish(process).startswith(b"released ")
    assert fsfreeze_status(pve) == "thawed\n"


def test_a_frozen_guest_stays_theirs_by_qm_too(pve):
    pve.good("qm guest cmd 100 fsfreeze-freeze")
    assert finish(hold_by_qm(pve, "freeze")) == b"refused its file systems are frozen already, by somebody else\n"
    assert fsfreeze_status(pve) == "frozen\n"


def test_an_agents_error_is_one_though_qm_ends_with_0(pve):
    pve.mode(100, "broken")
    assert json.loads(pve.good("qm guest cmd 100 fsfreeze-freeze"))["error"]
    assert finish(hold_by_qm(pve, "freeze")) == b"refused failed to open /mnt/x: Permission denied\n"


@pytest.mark.parametrize("config, mode, said", [
    ("memory: 512\n", "", "No QEMU guest agent configured"),
    ("agent: 0\n", "", "QEMU guest agent is not running"),
    ("agent: 1\n", "silent", "QEMU guest agent is not running")])
def test_what_qm_says_of_an_agent_that_is_not_there(pve, config, mode, said):
    pve.vm(100, config)
    pve.mode(100, mode)
    assert finish(hold_by_qm(pve, "freeze")).decode() == f"{NO_SOCKET}{said}\n"


def test_what_qm_says_of_a_guest_that_is_stopped(pve):
    pve.end_guest(100)
    assert finish(hold_by_qm(pve, "freeze")).decode() == f"{NO_SOCKET}VM 100 is not running\n"
    process = hold_by_qm(pve, "pause")
    assert process.stdout.readline() == b"already stopped\n"
    assert finish(process) == b"released 0\n"


def state(pve):
    return pve.good("qm status 100").removeprefix("status: ").strip()


def qm_that(pve, tmp_path, script):
    """Puts another qm in front of the stand-in, which it finds in $QM."""
    shim = tmp_path / "bin" / "qm"
    shim.parent.mkdir(exist_ok=True)
    shim.write_text(f"#!/bin/sh\nQM={LAB / 'pve' / 'bin' / 'qm'}\n{script}\nexec $QM \"$@\"\n")
    shim.chmod(0o755)
    pve.path = f"{shim.parent}:{pve.path}"


@pytest.mark.parametrize("end", ["input", signal.SIGTERM, signal.SIGHUP, signal.SIGINT, "deadline"])
def test_a_guest_is_paused_until_it_is_let_go(pve, end):
    process = held(hold_by_qm(pve, "pause", 1 if end == "deadline" else 60))
    assert state(pve) == "paused" or end == "deadline"
    if end == "input":
        process.stdin.close()
    elif end != "deadline":
        process.send_signal(end)
    said = process.stdout.readline()
    assert said.startswith(b"expired " if end == "deadline" else b"released ")
    assert process.wait(10) == 0 and state(pve) == "running"


def test_a_paused_guest_goes_on_without_a_beat(pve, tmp_path):
    clock = Clock(tmp_path)
    environment = {**pve.environment(), "PATH": pve.path}
    process = held(clock.perl("hold_guest", "pause", 100, 3600, 30, env=environment))
    clock.go_on(process, 20)
    assert state(pve) == "paused"
    clock.set(50)
    assert process.stdout.readline() == b"silent 50.000\n"
    assert process.wait(10) == 0 and state(pve) == "running"
    pve.good("qm suspend 100")
    clock.looks.write_bytes(b"")
    process = clock.perl("hold_guest", "pause", 100, 3600, 30, env=environment)
    assert process.stdout.readline() == b"already paused\n"
    clock.begin(process)
    clock.set(80)
    assert process.stdout.readline() == b"silent 0\n"
    assert process.wait(10) == 0 and state(pve) == "paused"


def test_a_guest_that_somebody_else_paused_is_not_resumed(pve):
    pve.good("qm suspend 100")
    process = hold_by_qm(pve, "pause")
    assert process.stdout.readline() == b"already paused\n"
    assert finish(process) == b"released 0\n"
    assert state(pve) == "paused"


def test_a_pause_of_somebody_else_that_ends_meanwhile_is_told_of(pve):
    pve.good("qm suspend 100")
    process = hold_by_qm(pve, "pause")
    assert process.stdout.readline() == b"already paused\n"
    pve.good("qm resume 100")
    assert finish(process) == b"lost it was paused and is running now\n"


def test_a_lock_that_forbids_pausing_is_told_of(pve):
    pve.vm(100, "lock: snapshot\nmemory: 512\n")
    assert finish(hold_by_qm(pve, "pause")) == b"refused VM is locked (snapshot)\n"
    assert state(pve) == "running"


def test_a_pause_that_failed_half_way_is_taken_back(pve, tmp_path):
    qm_that(pve, tmp_path, 'if [ "$1" = suspend ]; then "$QM" "$@"; echo "got timeout" >&2; exit 255; fi')
    assert finish(hold_by_qm(pve, "pause")) == b"refused got timeout\n"
    assert state(pve) == "running"


def test_a_pause_that_takes_too_long_is_taken_back(pve, tmp_path):
    qm_that(pve, tmp_path, 'if [ "$1" = suspend ]; then sleep 1; fi')
    assert finish(hold_by_qm(pve, "pause", 0.5)) == b"late\n"
    assert state(pve) == "running"


def test_resuming_is_tried_until_qm_status_says_so(pve, tmp_path):
    qm_that(pve, tmp_path, f"""if [ "$1" = resume ] && [ ! -e {tmp_path}/third ]; then
        if [ -e {tmp_path}/second ]; then touch {tmp_path}/third; fi
        if [ -e {tmp_path}/first ]; then touch {tmp_path}/second; fi
        touch {tmp_path}/first
        exit 0
    fi""")
    assert finish(held(hold_by_qm(pve, "pause"))).startswith(b"released ")
    assert (tmp_path / "third").exists() and state(pve) == "running"


def test_a_signal_to_the_whole_group_does_not_keep_it_paused(pve, tmp_path):
    """Here a run that ends signals the script's group: qm, in the middle of pausing the guest, must not be cut."""
    qm_that(pve, tmp_path, f'if [ "$1" = suspend ]; then touch {tmp_path}/begun; sleep 1; fi')
    process = perl("hold_guest", "pause", 100, 60, 30, env={**pve.environment(), "PATH": pve.path}, start_new_session=True)
    until = time.monotonic() + 20
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    held(process)
    assert process.stdout.readline().startswith(b"released ")
    assert process.wait(10) == 0 and state(pve) == "running"


class Monitor:
    """QEMU's monitor of a guest: one client at a time, whom it greets."""

    def __init__(self, vmid, behave=None):
        self.path = SOCKETS / f"{vmid}.qmp"
        self.state, self.asked, self.behave = "running", [], behave or (lambda monitor, command: None)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(self.path))
        self.server.listen(4)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                link, _ = self.server.accept()
            except OSError:
                return
            with link, link.makefile("rw") as stream:
                try:
                    self.talk(stream)
                except (OSError, ValueError):
                    pass

    def talk(self, stream):
        def say(message):
            stream.write(json.dumps(message) + "\n")
            stream.flush()

        say({"QMP": {"version": {"qemu": {"major": 9, "minor": 2, "micro": 0}}, "capabilities": ["oob"]}})
        ready = False
        for line in stream:
            command = json.loads(line)["execute"]
            self.asked.append(command)
            answer = self.behave(self, command)
            if answer == "close":
                return
            if answer == "nothing":
                continue
            if answer is None and command == "qmp_capabilities":
                ready = True
            elif answer is None and not ready:
                answer = {"error": {"class": "CommandNotFound", "desc": "Expecting capabilities negotiation"}}
            elif answer is None and command in ("stop", "cont"):
                self.state = "paused" if command == "stop" else "running"
                say({"event": "STOP" if command == "stop" else "RESUME", "timestamp": {"seconds": 1, "microseconds": 2}})
            say(answer or {"return": {"status": self.state, "running": self.state == "running"}
                           if command == "query-status" else {}})

    def close(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.path.unlink()


@pytest.fixture
def monitor():
    monitors = []

    def make(behave=None):
        monitors.append(Monitor(100, behave))
        return monitors[-1]

    yield make
    for one in monitors:
        one.close()


def pause(tmp_path, seconds=60):
    """With a qm that only notes what it is asked, and knows of no pause."""
    qm = tmp_path / "qm"
    qm.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/qm-asked\necho "status: running"\n')
    qm.chmod(0o755)
    return perl("hold_guest", "pause", 100, seconds, 30, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})


def qm_asked(tmp_path):
    asked = tmp_path / "qm-asked"
    return asked.read_text().splitlines() if asked.exists() else []


def test_a_guest_is_paused_over_qemus_monitor(monitor, tmp_path):
    qemu = monitor()
    process = held(pause(tmp_path))
    assert qemu.state == "paused"
    assert finish(process).startswith(b"released ")
    assert qemu.state == "running" and qm_asked(tmp_path) == []
    assert qemu.asked == ["qmp_capabilities", "query-status", "stop", "cont", "query-status"]


def test_nobody_else_is_served_while_it_is_paused(monitor, tmp_path):
    qemu = monitor()
    process = held(pause(tmp_path))
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(qemu.path))
        assert select.select([other], [], [], 0.2)[0] == []
        finish(process)
        other.settimeout(20)
        assert other.recv(7) == b'{"QMP":'


def test_the_deadline_ends_a_pause_over_the_monitor(monitor, tmp_path):
    qemu = monitor()
    process = held(pause(tmp_path, 0.3))
    assert process.stdout.read().startswith(b"expired ") and qemu.state == "running"


def test_what_somebody_else_paused_is_left_to_them_and_the_monitor_too(monitor, tmp_path):
    qemu = monitor()
    qemu.state = "paused"
    process = pause(tmp_path)
    assert process.stdout.readline() == b"already paused\n"
    with socket.socket(socket.AF_UNIX) as other:
        other.settimeout(20)
        other.connect(str(qemu.path))
        assert other.recv(7) == b'{"QMP":'
    assert "stop" not in qemu.asked
    finish(process)
    assert "cont" not in qemu.asked


def test_a_monitor_that_refuses_to_stop_is_told_of(monitor, tmp_path):
    qemu = monitor(lambda _, command: {"error": {"class": "GenericError", "desc": "not now"}} if command == "stop" else None)
    assert finish(pause(tmp_path)) == b"refused its QEMU refuses 'stop': not now\n"
    # Who knows what became of it: it is asked to go on, by the one who is left.
    assert qemu.state == "running" and qm_asked(tmp_path)[0] == "resume 100"


def test_a_pause_that_the_monitor_does_not_confirm_is_taken_back(monitor, tmp_path):
    def silent(qemu, command):
        if command == "stop":
            qemu.state = "paused"
            return "nothing"
        return None

    monitor(silent)
    assert finish(pause(tmp_path, 0.3)) == b"late\n"
    assert qm_asked(tmp_path) == ["resume 100", "status 100"]


def test_a_monitor_that_breaks_while_the_guest_is_paused_is_followed_by_qm(monitor, tmp_path):
    monitor(lambda _, command: "close" if command == "cont" else None)
    assert finish(held(pause(tmp_path))).startswith(b"released ")
    assert qm_asked(tmp_path) == ["resume 100", "status 100"]


def test_what_is_no_monitor_is_not_asked_to_pause(monitor, tmp_path):
    qemu = monitor(lambda _, command: {"error": {"class": "GenericError", "desc": "odd"}})
    finish(held(pause(tmp_path)))
    assert "stop" not in qemu.asked
    assert qm_asked(tmp_path) == ["status 100", "suspend 100", "resume 100", "status 100"]


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


@pytest.mark.parametrize("word", ["", "ANY", "any\n", "absent ", "1.5", "1e3", "anything"])
def test_what_is_no_expectation_compares_nothing_and_writes_nothing(tmp_path, word):
    path = tmp_path / "100.conf"
    path.write_bytes(b"old")
    process = perl("replace_file", "-", path, word, 3, 0)
    _, errors = process.communicate(b"oldnew", timeout=30)
    assert process.returncode != 0 and b"EXPECT" in errors
    assert path.read_bytes() == b"old"


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
    (tmp_path / "locks").mkdir()
    process = perl("replace_file", tmp_path / "locks/100", tmp_path / "missing/100.conf", "absent", 0, 0)
    _, errors = process.communicate(b"x", timeout=30)
    assert process.returncode != 0 and b"cannot create" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["locks"], "a guest's folder is its node's"


def test_the_folder_of_what_is_no_guest_is_made(tmp_path):
    for rules in (b"first", b"second"):
        process = perl("replace_file", "-", tmp_path / "firewall/100.fw", "any", 0, 0)
        said, _ = process.communicate(rules, timeout=30)
        assert process.returncode == 0 and said.startswith(b"written ")
        assert (tmp_path / "firewall/100.fw").read_bytes() == rules
    assert [path.name for path in (tmp_path / "firewall").iterdir()] == ["100.fw"]


def test_a_file_is_read_with_its_time(tmp_path):
    path = tmp_path / "100.conf"
    assert finish(perl("read_file", path)) == b"absent\n"
    path.write_bytes(b"a\x00\r\nb")
    assert finish(perl("read_file", path)) == f"present {mtime(path)}\n".encode() + b"a\x00\r\nb"
    path.write_bytes(b"")
    assert finish(perl("read_file", path)) == f"present {mtime(path)}\n".encode()


def hold(path, old, new, lock="-", wait=0, run=perl):
    process = run("replace_file", lock, path, "bytes", len(old), wait, len(new), 30)
    process.stdin.write(old + new)
    process.stdin.flush()
    return process, process.stdout.readline()


@pytest.mark.parametrize("end", ["input", "line", signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_file_is_held_until_it_is_let_go(tmp_path, end):
    path = tmp_path / "100.conf"
    path.write_bytes(b"name: x\n")
    process, said = hold(path, b"name: x\n", b"lock: backup\nname: x\n", tmp_path / "lock", 1)
    assert said == f"written {mtime(path)}\n".encode()
    assert path.read_bytes() == b"lock: backup\nname: x\n"
    if end == "input":
        process.stdin.close()
    elif end == "line":
        process.stdin.write(b"beat\nend\n")
        process.stdin.flush()
    else:
        process.send_signal(end)
    assert process.stdout.read().startswith(b"written ")
    assert process.wait(30) == 0 and path.read_bytes() == b"name: x\n"


def test_a_file_is_held_from_beat_to_beat_and_put_back_without_one(tmp_path):
    path, clock = tmp_path / "100.conf", Clock(tmp_path)
    path.write_bytes(b"a")
    process, _ = hold(path, b"a", b"b", tmp_path / "lock", 1, clock.perl)
    for seconds in (20, 40, 60):
        clock.go_on(process, seconds)
        assert path.read_bytes() == b"b"
    clock.set(90)
    assert process.stdout.read().startswith(b"silent written ")
    assert process.wait(10) == 0 and path.read_bytes() == b"a"


def test_without_a_beat_what_somebody_changed_stays_as_it_is(tmp_path):
    path, clock = tmp_path / "100.conf", Clock(tmp_path)
    path.write_bytes(b"a")
    process, _ = hold(path, b"a", b"b", run=clock.perl)
    path.write_bytes(b"c")
    clock.begin(process)
    clock.set(30)
    assert process.stdout.read() == b"silent changed\n"
    assert process.wait(10) == 0 and path.read_bytes() == b"c"


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


def await_ha(path, resource, wanted, seconds):
    return perl("await_ha", path, resource, wanted, seconds)


def manager_status(path, *resources):
    """As the manager writes it: in one step."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"master_node": "pve1", "service_status": {one: {"state": "started"} for one in resources}}))
    new.rename(path)


def test_a_manager_that_counts_a_resource_or_not_is_not_waited_for(tmp_path):
    path = tmp_path / "manager_status"
    assert finish(await_ha(path, "vm:100", "absent", 0)) == b"noticed\n"
    path.touch()
    assert finish(await_ha(path, "vm:100", "absent", 0)) == b"noticed\n"
    assert finish(await_ha(path, "vm:100", "present", 0)) == b"late\n"
    manager_status(path, "vm:1000", "ct:100")
    assert finish(await_ha(path, "vm:100", "absent", 0)) == b"noticed\n"
    assert finish(await_ha(path, "vm:100", "present", 0.3)) == b"late\n"
    manager_status(path, "vm:100", "vm:1000")
    assert finish(await_ha(path, "vm:100", "present", 0)) == b"noticed\n"
    assert finish(await_ha(path, "vm:100", "absent", 0.3)) == b"late\n"


@pytest.mark.parametrize("wanted, before, after", [("present", ["vm:1000"], ["vm:100", "vm:1000"]),
                                                   ("absent", ["vm:100"], [])])
def test_a_manager_is_waited_for(tmp_path, wanted, before, after):
    path = tmp_path / "manager_status"
    manager_status(path, *before)
    process = await_ha(path, "vm:100", wanted, 60)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    manager_status(path, *after)
    assert finish(process) == b"noticed\n"


def test_a_manager_whose_words_are_not_understood_is_told_of(tmp_path):
    path = tmp_path / "manager_status"
    path.write_text("{")
    process = await_ha(path, "vm:100", "absent", 0)
    said, errors = process.communicate(timeout=30)
    assert process.returncode != 0 and errors and not said
