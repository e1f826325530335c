"""Namespaces without names: a sandbox is one process (its PID 1) in namespaces of its own.

Kill that process and everything in it dies at once, as in a power failure, and its mounts and interfaces go with it.
"""

import array
import json
import os
import signal
import socket
import sys
import traceback

from . import process
from .namespaces import ALL, MS_PRIVATE, MS_REC, enter, mount, unshare
from .process import LabError

def create(record, setup, log, within=None):
    """Starts a sandbox, inside the sandbox `within` if that is given, and returns the number of its PID 1 on the host.

    `setup` runs in it first; when it raises, so does this. The process is remembered in the file `record` before
    it does anything, so that nothing is ever out of reach of `down`.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    middle = os.fork()
    if middle == 0:
        _guard(lambda: _become_sandbox(theirs.fileno(), setup, log, within))
    theirs.close()
    with ours:
        os.waitpid(middle, 0)
        pid = _sender(ours)
        process.remember(record, pid)
        ours.send(b"go")
        answer = ours.recv(65536).decode()
    if answer != "ready":
        process.kill(record)
        raise LabError(f"sandbox {os.path.basename(record)}: {answer or 'ended'}")
    return pid


def _sender(channel):
    """The number, as this process sees it, of the process that says hello."""
    _, extra, _, _ = channel.recvmsg(16, socket.CMSG_SPACE(12))
    for _, kind, data in extra:
        if kind == socket.SCM_CREDENTIALS:
            credentials = array.array("i")
            credentials.frombytes(data[:12])
            if credentials[0]:
                return credentials[0]
    raise LabError("a sandbox did not start")


def _guard(body):
    """Runs the body of a forked child, which must never return into its parent's code."""
    code = 1
    try:
        code = body() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _become_sandbox(channel, setup, log, within):
    if within:
        enter(within)
        if os.fork():
            return
    unshare(ALL)
    if os.fork():
        return
    _detach(channel, log)
    with socket.socket(fileno=3) as link:
        link.send(b"hello")
        if link.recv(16) != b"go":
            return 1
        try:
            mount(None, "/", flags=MS_REC | MS_PRIVATE)
            setup()
        except BaseException as error:
            traceback.print_exc()
            link.send(str(error).encode()[:4000] or b"failed")
            return 1
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        link.send(b"ready")
    _reap_forever()


def _detach(channel, log):
    """Keeps only the channel, as descriptor 3: a sandbox must not hold the caller's pipes or locks."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    channel = os.dup(channel)
    for target, source in ((0, null), (1, out), (2, out), (3, channel)):
        os.dup2(source, target)
    os.closerange(4, 65536)
    os.chdir("/")
    os.umask(0o022)


def _reap_forever():
    """What an init does: collects the children others left behind."""
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigwait({signal.SIGCHLD})


class Task:
    """A function that runs in a process of its own, in a sandbox if one is given; `result` waits for what it returns
    (plain data) and raises what it raised, as LabError. Several tasks run side by side."""

    def __init__(self, function, *arguments, within=None):
        self._pipe, theirs = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _guard(lambda: self._child(theirs, within, function, arguments))
        os.close(theirs)

    def _child(self, pipe, within, function, arguments):
        if within:
            enter(within)
            inner = os.fork()
            if inner:
                os.close(pipe)
                return 1 if os.waitpid(inner, 0)[1] else 0
        try:
            answer = {"value": function(*arguments)}
        except (LabError, OSError) as error:
            answer = {"error": str(error)}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        with os.fdopen(pipe, "w") as out:
            json.dump(answer, out)

    def result(self):
        with os.fdopen(self._pipe) as source:
            text = source.read()
        os.waitpid(self._pid, 0)
        answer = json.loads(text) if text else {"error": "a task ended without an answer"}
        if "error" in answer:
            raise LabError(answer["error"])
        return answer["value"]
