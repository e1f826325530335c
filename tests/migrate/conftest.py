"""One lab for the whole folder."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "mirror")]

from migratetest import Migrations  # noqa: E402
from mirrortest import running_lab  # noqa: E402


@pytest.fixture(scope="session")
def lab_site(tmp_path_factory):
    with running_lab(tmp_path_factory.mktemp("lab") / "state") as made:
        made.short_watch_timeouts()
        Migrations(made).open_the_way_back()
        yield made


@pytest.fixture
def site(lab_site):
    """The two clusters, without the guests of the test before."""
    made = Migrations(lab_site)
    made.clear()
    yield made
    made.clear()
