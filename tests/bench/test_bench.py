"""That the benchmark works. It asserts nothing about time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from crossbench.results import Result, Target  # noqa: E402
from crossbench.table import render  # noqa: E402


def told(seconds, wire):
    return {"seconds": seconds, "wire_bytes": wire, "source_cpu_seconds": 2.0, "destination_cpu_seconds": 1.0,
            "storage_cpu_seconds": 0.5, "other_cores": 0.1, "peak_rss_bytes": 1 << 20}


@pytest.fixture
def result():
    """Three repetitions, of which the second met a machine three times as slow."""
    made = Result("a-row", "a row", "transfer_seconds", 1 << 29, targets=(
        Target("at most 0.5", lambda result: result.ratio("x", "b"), at_most=0.5),
        Target("at least 0.9", lambda result: result.ratio("x", "b"), at_least=0.9)))
    for mine, other in ((1, 2), (3, 7), (2, 2)):
        made.add("x", "ours", told(mine + 1, 3 << 28), transfer_seconds=mine)
        made.add("b", "the pipe", told(other + 1, 1 << 30), transfer_seconds=other)
    return made


def test_ratio_is_the_median_of_ratios_within_repetitions(result):
    assert result.ratio("x", "b") == 0.5
    assert result.ratio("x", "b", "run_seconds") == pytest.approx(2 / 3)
    assert result.ratio("x", "c") is None


def test_what_is_per_byte(result):
    assert result.wire_ratio("x") == 1.5
    assert result.per_gib("x", "source_cpu_seconds") == 4.0


def test_targets_are_judged(result):
    assert [judged["met"] for judged in result.judged()] == [True, False]
    assert "at least 0.9: 0.5 MISSED" in render(result)


def test_quick_rows_work_and_copy_right(tmp_path):
    """`run` itself compares what was copied, and ends with 1 if that differs."""
    report = tmp_path / "bench.json"
    rows = ("first-copy", "scattered-sparse")
    words = [word for row in rows for word in ("--row", row)]
    environment = {**os.environ, "CROSSOVER_LAB_STATE": str(tmp_path / "lab")}
    done = subprocess.run([HERE / "run", "--quick", "--json", report, *words], env=environment, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "lab").exists()
    measured = {row["row"]: row for row in json.loads(report.read_text())["rows"]}
    assert tuple(measured) == rows
    for name, letters in zip(rows, ("abcx", "bcx")):
        assert sorted(measured[name]["competitors"]) == list(letters)
        for competitor in measured[name]["competitors"].values():
            assert competitor["medians"]["run_seconds"] > 0
            assert competitor["medians"]["source_cpu_seconds"] > 0
            assert competitor["medians"]["wire_bytes"] > 0
    # The pipes' far ends are processes there; random bytes cannot be sent in fewer.
    first = measured["first-copy"]
    assert all(first["competitors"][letter]["medians"]["destination_cpu_seconds"] > 0 for letter in "abx")
    assert all(each["medians"]["wire_bytes"] >= first["bytes"] for each in first["competitors"].values())
    # Whether a target is met is a matter of the machine; that each was judged, by a figure, is not.
    for row in measured.values():
        assert row["targets"] and all(isinstance(judged["met"], bool) and judged["measured"] > 0 for judged in row["targets"]), row
