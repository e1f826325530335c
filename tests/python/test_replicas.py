"""Replicas, as far as it goes without a cluster."""

import pytest

from crossover import Error, PruneOptions, RecoverOptions, Replicas


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda r: r.recover(99100, RecoverOptions(point="yesterday")), "--point=yesterday"),
        (lambda r: r.prune("all", PruneOptions()), "--keepremote"),
        (lambda r: r.prune("all", PruneOptions(keep_remote="daily=0")), "'daily=0'"),
        (lambda r: r.prune("12", PruneOptions(keep_remote="1d")), "'12'"),
        (lambda r: r.prune("100:200", PruneOptions(keep_remote="1d")), "100:200"),
    ],
)
def test_options_that_make_no_sense(call, name):
    with pytest.raises(Error) as caught:
        call(Replicas())
    assert caught.value.code == "usage"
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda r: r.points(99100),
        lambda r: r.recover(99100),
        lambda r: r.prune("all", PruneOptions(keep_remote="1d")),
    ],
)
def test_nothing_can_be_done_where_there_is_no_cluster(call):
    with pytest.raises(Error) as caught:
        call(Replicas())
    assert caught.value.cause and caught.value.code != "usage"
