"""What the lab's tests share. Every lab here has a folder of its own and is gone afterwards."""

import pytest

from crosslab import namespaces, process, sandbox
from labtest import Lab


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
    process.kill(tmp_path / "sandbox")
