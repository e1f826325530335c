"""How long recovery points are kept."""

from datetime import datetime, timedelta, timezone

import pytest

from crossover import Error, KeepWindow, RetentionPoint, RetentionPolicy

NOW = datetime(2024, 5, 1, tzinfo=timezone.utc)


def test_windows():
    assert KeepWindow.parse("2d") == KeepWindow(timedelta(days=2)) == KeepWindow.parse("48h")
    assert str(KeepWindow.parse("48h")) == "2d"
    assert KeepWindow() == KeepWindow.parse("0s") < KeepWindow.parse("1s")
    assert KeepWindow.parse("1w").length == timedelta(weeks=1)
    assert len({KeepWindow.parse("60s"), KeepWindow.parse("1m")}) == 1
    with pytest.raises(Error, match="keep_local=7") as caught:
        KeepWindow.parse("7", option="keep_local")
    assert caught.value.code == "usage"
    for wrong in (timedelta(seconds=-1), timedelta(milliseconds=1)):
        with pytest.raises(ValueError):
            KeepWindow(wrong)
    with pytest.raises(TypeError):
        KeepWindow(60)


def test_removals():
    points = [RetentionPoint(f"p{days}", NOW - timedelta(days=days)) for days in (9, 8, 7, 2, 1)]
    policy = RetentionPolicy(KeepWindow.parse("7d"))
    assert policy.plan_removals(points, NOW) == ["p9", "p8"]
    assert policy.plan_removals(points, NOW, protected_names={"p9"}) == ["p8"]
    assert RetentionPolicy().plan_removals(points, NOW) == ["p9", "p8", "p7", "p2"]
    assert RetentionPolicy() == RetentionPolicy(KeepWindow()) != policy
    assert points[0].time == NOW - timedelta(days=9) and points[0].time.tzinfo is timezone.utc


def test_times_need_a_zone():
    elsewhere = timezone(timedelta(hours=5))
    assert RetentionPoint("p", NOW.astimezone(elsewhere)) == RetentionPoint("p", NOW)
    with pytest.raises(ValueError, match="time zone"):
        RetentionPoint("p", datetime(2024, 5, 1))
    with pytest.raises(ValueError, match="time zone"):
        RetentionPolicy().plan_removals([], datetime(2024, 5, 1))
    with pytest.raises(TypeError):
        RetentionPolicy().plan_removals([], NOW, protected_names="p9")


def test_rules():
    policy = RetentionPolicy.parse("hourly=24,last=3,daily=7")
    assert policy == RetentionPolicy(last=3, hourly=24, daily=7)
    assert (policy.last, policy.hourly, policy.daily, policy.weekly, policy.monthly) == (3, 24, 7, 0, 0)
    assert str(policy) == "last=3,hourly=24,daily=7"
    assert RetentionPolicy.parse("2d") == RetentionPolicy(KeepWindow.parse("2d"))
    with pytest.raises(Error, match="--keeplocal.*'daily=0' needs a number"):
        RetentionPolicy.parse("daily=0", option="--keeplocal")
