"""One lab for the whole folder. Every guest has a VMID of its own, so that no test sees another's."""

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "lab")]

from kinds import Kinds  # noqa: E402
from labtest import Lab  # noqa: E402


@pytest.fixture(scope="session")
def kinds(tmp_path_factory):
    """A lab that was up before (CROSSOVER_LAB_STATE) is used and left up."""
    lab = Lab(os.environ.get("CROSSOVER_LAB_STATE") or tmp_path_factory.mktemp("lab") / "state")
    started = lab("status", check=False).returncode == 3
    try:
        if started:
            lab("up", "--ec")
        made = Kinds(lab)
        made.prepare()
        yield made
    finally:
        if started:
            lab("down")
