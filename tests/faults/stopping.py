"""A crossover that stops at a step and goes on when it is told to."""

import itertools
import os
import signal
import subprocess
import tempfile
import time

from mirrortest import CROSSOVER, EAST, Done, wait_for

_numbers = itertools.count(1)


class StoppingRun:
    """Its output goes to a file: a pipe that nobody reads would stop it elsewhere."""

    def __init__(self, site, words):
        self.site = site
        self.pidfile = f"/tmp/crossover-fault-{os.getpid()}-{next(_numbers)}"
        variables = next(index for index, word in enumerate(words[1:], 1) if "=" not in word)
        environment, command = list(words[:variables]), list(words[variables:])
        self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.started = time.monotonic()
        self.process = site.lab.start("exec", EAST, "sh", "-c", 'echo $$ > "$0"; exec "$@"', self.pidfile, *environment,
                                      CROSSOVER, *command, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err)

    def pid(self):
        return wait_for(lambda: self.site.try_run(EAST, "cat", self.pidfile), 10, "the run's pid").strip()

    def wait_until_stopped(self, seconds):
        pid = self.pid()

        def stopped():
            assert self.process.poll() is None, f"it ended before: {self.read_so_far()}{self._read(self.err)}"
            return self.site.try_run(EAST, "ps", "-o", "stat=", "-p", pid).strip().startswith("T")
        wait_for(stopped, seconds, "it stands at the step")

    def signal(self, which):
        self.site.run(EAST, "kill", f"-{signal.Signals(which).value}", self.pid())

    @staticmethod
    def _read(file):
        file.seek(0)
        return file.read()

    def read_so_far(self):
        return self._read(self.out)

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
