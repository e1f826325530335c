"""Sources, as far as it goes without a cluster."""

import pytest

from crossover import Error, Sources


def test_nothing_can_be_done_where_there_is_no_cluster():
    asked = []
    with pytest.raises(Error) as caught:
        Sources().cleanup(100, confirm=asked.append)
    assert caught.value.cause and caught.value.code != "usage"
    assert asked == []


@pytest.mark.parametrize("vmid", ["100", None, -1])
def test_a_guest_is_a_number(vmid):
    with pytest.raises(TypeError):
        Sources().cleanup(vmid)
