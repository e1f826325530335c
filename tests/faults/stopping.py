"""A crossover that stops at a step and goes on when it is told to."""

import contextlib
import itertools
import os
import signal
import subprocess
import tempfile
import time

from mirrortest import BUILD, CROSSOVER, EAST, Done, wait_for

STOP_AT = BUILD / "tests" / "faults" / "libcrossover-stop-at.so"
_numbers = itertools.count(1)


class StoppingRun:
    """Its output goes to a file: a pipe that nobody reads would stop it elsewhere."""

    def __init__(self, site, words, node=EAST, stdin=subprocess.DEVNULL):
        self.site, self.node = site, node
        self.pidfile = f"/tmp/crossover-fault-{os.getpid()}-{next(_numbers)}"
        variables = next(index for index, word in enumerate(words[1:], 1) if "=" not in word)
        environment, command = list(words[:variables]), list(words[variables:])
        self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.started = time.monotonic()
        self.process = site.lab.start("exec", node, "sh", "-c", 'echo $$ > "$0"; exec "$@"', self.pidfile, *environment,
                                      CROSSOVER, *command, stdin=stdin, stdout=self.out, stderr=self.err)

    def pid(self):
        return wait_for(lambda: self.site.try_run(self.node, "cat", self.pidfile), 10, "the run's pid").strip()

    def wait_until_stopped(self, seconds):
        pid = self.pid()

        def stopped():
            assert self.process.poll() is None, f"it ended before: {self.read_so_far()}{self._read(self.err)}"
            return self.site.try_run(self.node, "ps", "-o", "stat=", "-p", pid).strip().startswith("T")
        wait_for(stopped, seconds, "it stands at the step")

    def signal(self, which):
        self.site.run(self.node, "kill", f"-{signal.Signals(which).value}", self.pid())

    def go_on(self, seconds=180):
        self.signal(signal.SIGCONT)
        return self.wait(seconds)

    @staticmethod
    def _read(file):
        file.seek(0)
        return file.read()

    def read_so_far(self):
        return self._read(self.out)

    def wait_until_it_asks(self, seconds):
        wait_for(lambda: "Type yes" in self._read(self.err) or not self.running(), seconds, "it asks")
        assert self.running(), f"it ended before: {self.read_so_far()}{self._read(self.err)}"

    def running(self):
        return self.process.poll() is None

    def kill(self):
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait(30)

    def wait(self, seconds):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"it did not end within {seconds} s\n{self.read_so_far()}{self._read(self.err)}") from None
        return Done(self.process.returncode, self.read_so_far(), self._read(self.err), time.monotonic() - self.started)


def start(site, words):
    return StoppingRun(site, words)


@contextlib.contextmanager
def standing(site, words, text, which=1, node=EAST):
    """A run that stands still: it has printed its line of that number with this text. It ends with the block."""
    run = StoppingRun(site, ("env", f"LD_PRELOAD={STOP_AT}", f"CROSSOVER_STOP_TEXT={text}",
                             f"CROSSOVER_STOP_AT={which}", *words), node)
    try:
        run.wait_until_stopped(120)
        yield run
    finally:
        run.kill()


@contextlib.contextmanager
def asking(site, words, node=EAST):
    """A run that waits for its question to be answered, and how to say yes: waits then for its end."""
    person, terminal = os.openpty()
    run = StoppingRun(site, ("env", *words), node, stdin=terminal)

    def say_yes(seconds=180):
        os.write(person, b"yes\n")
        return run.wait(seconds)
    try:
        run.wait_until_it_asks(120)
        yield say_yes
    finally:
        run.kill()
        os.close(person)
        os.close(terminal)
