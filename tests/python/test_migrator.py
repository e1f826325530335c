"""The Migrator, as far as it goes without a cluster."""

import json
import os
import signal
import threading
import time

import pytest

from crossover import Cancelled, CheckReport, Error, MigrateOptions, Migrator, MirrorOptions, VerifyOptions


def options(**more):
    return MirrorOptions(vmid="100", destination="127.0.0.1", pool="data2", **more)


@pytest.fixture
def slow_survey(tmp_path, monkeypatch):
    """This host answers its survey only after some seconds, and then badly."""

    def install(seconds):
        program = tmp_path / "perl"
        program.write_text(f"#!/bin/sh\nexec sleep {seconds}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return install


@pytest.mark.parametrize(
    "wrong, name",
    [
        ({"vmid": ""}, "--vmid"),
        ({"vmid": "12"}, "'12'"),
        ({"destination": ""}, "--destination"),
        ({"pool": "a b"}, "--pool"),
        ({"keep_local": "7"}, "--keeplocal"),
        ({"freeze_timeout": "0s"}, "--freeze-timeout"),
        ({"rewrite": ["s/a"]}, "rewrite"),
    ],
)
def test_options_that_make_no_sense(wrong, name):
    given = options()
    for member, value in wrong.items():
        setattr(given, member, value)
    with pytest.raises(Error) as caught:
        Migrator(given)
    assert caught.value.code == "usage"
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "wrong, name",
    [({"point": "x"}, "--point"), ({"sample": "5"}, "--sample"), ({"sample": "5%", "repair": True}, "--repair")],
)
def test_comparisons_that_make_no_sense(wrong, name):
    with pytest.raises(Error) as caught:
        Migrator(options()).verify(VerifyOptions(**wrong))
    assert caught.value.code == "usage"
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "wrong, name",
    [
        ({"precopy_threshold": "x"}, "--precopy-threshold"),
        ({"precopy_rounds": "0"}, "--precopy-rounds"),
        ({"shutdown_timeout": "0s"}, "--shutdown-timeout"),
        ({"mode": "stop"}, "--migrate-mode"),
        ({"mode": "suspend", "force_stop": True}, "--force-stop"),
        ({"no_start": True, "ha": True}, "--ha"),
    ],
)
def test_migrations_that_make_no_sense(wrong, name):
    with pytest.raises(Error) as caught:
        Migrator(options()).migrate(MigrateOptions(**wrong))
    assert caught.value.code == "usage"
    assert name in str(caught.value)


def test_migrate_raises_if_nothing_could_be_done():
    asked = []
    with pytest.raises(Error) as caught:
        Migrator(options()).migrate(confirm=asked.append)
    assert caught.value.cause and caught.value.code != "usage"
    assert asked == []


def test_verify_raises_if_nothing_could_be_done():
    with pytest.raises(Error) as caught:
        Migrator(options()).verify()
    assert caught.value.cause and caught.value.code != "usage"


def test_options_are_copied():
    given = options()
    migrator = Migrator(given)
    given.vmid = ""
    migrator.options.vmid = ""
    assert migrator.options == options()
    for wrong in (None, {}, "100"):
        with pytest.raises(TypeError):
            Migrator(wrong)


def test_check_says_what_fails():
    report = Migrator(options()).check()
    assert isinstance(report, CheckReport) and not report.ok
    assert {"source", "destination"} <= {item.subject for item in report.items if item.result == "failed"}
    assert all(item.text for item in report.items)
    data = json.loads(report.to_json())
    assert data["ok"] is False
    assert [item["text"] for item in data["items"]] == [item.text for item in report.items]


def test_other_threads_run_during_a_check(slow_survey):
    slow_survey(1)
    turns = 0
    over = threading.Event()

    def turn():
        nonlocal turns
        while not over.wait(0.01):
            turns += 1

    thread = threading.Thread(target=turn)
    thread.start()
    begin = time.monotonic()
    report = Migrator(options()).check()
    took = time.monotonic() - begin
    over.set()
    thread.join()
    assert not report.ok
    assert took > 0.9 and turns > 10


def test_mirror_raises_if_nothing_could_be_done():
    kinds = []
    with pytest.raises(Error) as caught:
        Migrator(options()).mirror(on_event=lambda event: kinds.append(event.kind))
    assert kinds == ["run_started"]
    assert caught.value.cause and caught.value.code != "usage"


def test_an_event_as_json():
    events = []
    with pytest.raises(Error):
        Migrator(options(dry_run=True)).mirror(events.append)
    (event,) = events
    assert json.loads(event.to_json())["kind"] == event.kind == "run_started"
    assert set(json.loads(event.to_json())) == {*type(event).__match_args__, "elapsed_ms"} - {"elapsed"}


def test_what_a_listener_raises_comes_out(slow_survey):
    slow_survey(30)

    def listen(event):
        raise LookupError(event.kind)

    begin = time.monotonic()
    with pytest.raises(LookupError, match="run_started"):
        Migrator(options()).mirror(on_event=listen)
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("call", ["mirror", "migrate", "verify", "check"])
def test_a_stop_ends_a_call(slow_survey, call):
    slow_survey(30)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        getattr(Migrator(options()), call)(stop=stop)
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("call", ["mirror", "migrate", "verify", "check"])
def test_ctrl_c_ends_a_call(slow_survey, call):
    slow_survey(30)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        getattr(Migrator(options()), call)()
    assert time.monotonic() - begin < 20
