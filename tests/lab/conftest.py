"""What the lab's tests share. Every lab here has a folder of its own and is gone afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from crosslab import namespaces, sandbox  # noqa: E402


class Lab:
    """Runs `lab` for one state folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.environment = {**os.environ, "CROSSOVER_LAB_STATE": str(folder)}

    def start(self, *words, **options):
        return subprocess.Popen([HERE / "lab", *words], env=self.environment, **options)

    def __call__(self, *words, check=True, **options):
        done = subprocess.run([HERE / "lab", *words], env=self.environment, capture_output=True, text=True, timeout=120,
                              **options)
        if check and done.returncode:
            raise AssertionError(f"lab {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def run(self, node, *command):
        """What a command prints in a node."""
        return self("exec", node, *command).stdout


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A running lab that all tests use; who breaks something in it mends it."""
    made = Lab(tmp_path_factory.mktemp("lab") / "state")
    made("up", "--memstore")
    yield made
    made("down")


@pytest.fixture
def lone_sandbox(tmp_path):
    """The PID 1 of an empty sandbox with a /proc of its own."""
    def own_proc():
        namespaces.mount("proc", "/proc", "proc")
    pid = sandbox.create(tmp_path / "sandbox", own_proc, tmp_path / "sandbox.log")
    yield pid
    from crosslab import process
    process.kill(tmp_path / "sandbox")
