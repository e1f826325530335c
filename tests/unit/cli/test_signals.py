"""What the command does when it is interrupted, hangs, or has nobody to ask, as far as that needs no cluster.

What hangs is a connection to a monitor that takes it and never says a word.
"""

import os
import pty
import signal
import socket
import subprocess
import time

import pytest

CROSSOVER = os.environ["CROSSOVER"]
INTERRUPTING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
PATIENCE = 10


@pytest.fixture
def hanging(tmp_path):
    """Starts a diff command, and comes back when it hangs."""
    monitor = socket.create_server(("127.0.0.1", 0))
    monitor.settimeout(30)
    port = monitor.getsockname()[1]
    conf = tmp_path / "ceph.conf"
    conf.write_text(f"[global]\nmon_host = v2:127.0.0.1:{port}\n"
                    + "".join(f"auth_{what}_required = none\n" for what in ("client", "cluster", "service")))
    started, connections = [], []

    def start(*words, **options):
        process = subprocess.Popen([CROSSOVER, *words, "--conf", conf], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)
        started.append(process)
        connections.append(monitor.accept()[0])
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
    for connection in connections:
        connection.close()
    monitor.close()


def said(process):
    return process.communicate(timeout=30)[1]


def test_what_hangs_is_waited_for_and_given_up(hanging):
    gives_up = {
        hanging("export-diff", "rbd/disk@one", "-"): "what was written is not a whole stream",
        hanging("import-diff", "-", "rbd/disk"): "the image may be half written; roll it back before it is used",
    }
    more = [hanging("export-diff", "rbd/disk@one", "-") for _ in INTERRUPTING[2:]]
    begun = time.monotonic()
    for process, which in zip([*gives_up, *more], INTERRUPTING, strict=True):
        process.send_signal(which)
    time.sleep(PATIENCE - 2)
    assert all(process.poll() is None for process in [*gives_up, *more])
    for process, consequence in gives_up.items():
        assert said(process) == f"crossover: interrupted; something hangs and was abandoned: {consequence}\n"
    for process in [*gives_up, *more]:
        assert process.wait(PATIENCE) == 130
    assert time.monotonic() - begun < PATIENCE + 10


@pytest.mark.parametrize("second", INTERRUPTING, ids=lambda which: which.name)
def test_a_second_signal_ends_it_at_once(hanging, second):
    process = hanging("export-diff", "rbd/disk@one", "-")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(second)
    assert "something hangs and was abandoned" in said(process) and process.returncode == 130
    assert time.monotonic() - begun < PATIENCE / 2


def test_who_is_told_to_outlive_its_terminal_does(hanging):
    def nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = hanging("export-diff", "rbd/disk@one", "-", preexec_fn=nohup)
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None


@pytest.mark.parametrize("which", INTERRUPTING, ids=lambda which: which.name)
def test_what_can_stop_ends_in_order(which):
    with subprocess.Popen([CROSSOVER, "show-diff", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        time.sleep(0.5)
        process.send_signal(which)
        assert process.wait(PATIENCE / 2) == 130
        assert "abandoned" not in process.stderr.read()


ASKS = [("mirror", "--migrate", "--vmid=100:9100", "--destination=nowhere", "--pool=copy"),
        ("cleanup-source", "100")]


@pytest.mark.parametrize("words", ASKS, ids=lambda words: words[0])
def test_nobody_is_there_to_be_asked(words):
    def run(*more, stdin=subprocess.DEVNULL):
        return subprocess.run([CROSSOVER, *words, *more], stdin=stdin, capture_output=True, text=True, timeout=30)

    alone = run()
    assert alone.returncode == 2 and "there is no terminal; give --noconfirm" in alone.stderr, alone
    # Further than that, there is no cluster here.
    keyboard, terminal = pty.openpty()
    for with_it in (run("--noconfirm"), run("--dry-run"), run(stdin=terminal)):
        assert with_it.returncode == 4 and "terminal" not in with_it.stderr, with_it
    os.close(keyboard)
    os.close(terminal)


def test_the_agent_is_not_for_people():
    keyboard, terminal = pty.openpty()
    told = subprocess.run([CROSSOVER, "agent"], stdin=terminal, capture_output=True, text=True, timeout=30)
    os.close(keyboard)
    os.close(terminal)
    assert told.returncode == 2 and "agent is not for people" in told.stderr, told
    told = subprocess.run([CROSSOVER, "agent"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=30, env=os.environ | {"SSH_ORIGINAL_COMMAND": "rbd ls"})
    assert told.returncode == 2 and "restricted to 'crossover agent'" in told.stderr, told
