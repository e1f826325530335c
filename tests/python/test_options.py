"""MirrorOptions is the library's option list, and nothing else."""

import copy
import pickle

import pytest

import crossover
from crossover import MirrorOptions

MEMBERS = [option.member for option in crossover.option_list()]


def attributes():
    return {name for name in vars(MirrorOptions) if not name.startswith("_")}


def test_attributes_are_the_option_list():
    assert attributes() == set(MEMBERS)
    assert len(MEMBERS) == len(set(MEMBERS))


def test_the_option_list_is_the_struct(members_of):
    members = members_of("options.hpp", "MirrorOptions")
    assert set(members) == set(MEMBERS)
    for name, default in members.items():
        value = getattr(MirrorOptions(), name)
        written = {"true": True, "false": False, None: "" if isinstance(value, str) else ()}.get(default, default)
        assert value == (written.strip('"') if isinstance(written, str) else written), name


@pytest.mark.parametrize("option", crossover.option_list(), ids=MEMBERS)
def test_each_option(option):
    other = {"bool": True, "str": "7d", "tuple[str, ...]": ("s/a/b/", "s/c,d/e/")}[option.type]
    assert getattr(MirrorOptions(), option.member) == option.default
    by_keyword = MirrorOptions(**{option.member: other})
    by_attribute = MirrorOptions()
    setattr(by_attribute, option.member, other)
    assert getattr(by_keyword, option.member) == other
    assert by_keyword == by_attribute != MirrorOptions()
    assert repr(by_keyword) == f"MirrorOptions({option.member}={other!r})"
    assert eval(repr(by_keyword)) == by_keyword
    assert option.help in getattr(MirrorOptions, option.member).__doc__
    assert option.help in MirrorOptions.__doc__


def test_an_unknown_keyword_is_named():
    with pytest.raises(TypeError, match="unexpected keyword argument 'keeplocal'"):
        MirrorOptions(vmid="100", keeplocal="2d")
    with pytest.raises(TypeError):
        MirrorOptions("100")
    with pytest.raises(AttributeError):
        MirrorOptions().keeplocal = "2d"


@pytest.mark.parametrize(
    "name, value",
    [
        ("vmid", 100),
        ("vmid", None),
        ("vmid", b"100"),
        ("online", "no"),
        ("online", 1),
        ("online", None),
        ("rewrite", "s/a/b/"),
        ("rewrite", [1]),
        ("rewrite", None),
    ],
)
def test_types_are_taken_exactly(name, value):
    with pytest.raises(TypeError, match=f"{name} has to be"):
        MirrorOptions(**{name: value})
    with pytest.raises(TypeError, match=f"{name} has to be"):
        setattr(MirrorOptions(), name, value)


def test_copies_are_their_own():
    options = MirrorOptions(vmid="all", rewrite=["s/a/b/"], online=True, job_name="caf\udce9")
    for other in (copy.copy(options), copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        assert other == options
        other.vmid = "100"
        assert other != options
    with pytest.raises(TypeError):
        hash(options)
    assert options != "all"
