"""MirrorOptions is the library's option list, and nothing else."""

import copy
import pickle

import pytest

import crossover
from crossover import MigrateOptions, MirrorOptions, PruneOptions, RecoverOptions, VerifyOptions

LISTS = {
    MirrorOptions: crossover.option_list(),
    VerifyOptions: crossover.verify_option_list(),
    RecoverOptions: crossover.recover_option_list(),
    PruneOptions: crossover.prune_option_list(),
    MigrateOptions: crossover.migrate_option_list(),
}
EACH = [(type_, option) for type_, options in LISTS.items() for option in options]


@pytest.mark.parametrize("type_", LISTS)
def test_attributes_are_the_option_list(type_):
    members = [option.member for option in LISTS[type_]]
    assert {name for name in vars(type_) if not name.startswith("_")} == set(members)
    assert len(members) == len(set(members))


@pytest.mark.parametrize("type_", LISTS)
def test_the_option_list_is_the_struct(members_of, type_):
    members = members_of("options.hpp", type_.__name__)
    assert set(members) == {option.member for option in LISTS[type_]}
    for name, default in members.items():
        value = getattr(type_(), name)
        written = {"true": True, "false": False, None: "" if isinstance(value, str) else ()}.get(default, default)
        assert value == (written.strip('"') if isinstance(written, str) else written), name


@pytest.mark.parametrize("type_, option", EACH, ids=[option.member for _, option in EACH])
def test_each_option(type_, option):
    other = {"bool": True, "str": "7d", "tuple[str, ...]": ("s/a/b/", "s/c,d/e/")}[option.type]
    assert getattr(type_(), option.member) == option.default
    by_keyword = type_(**{option.member: other})
    by_attribute = type_()
    setattr(by_attribute, option.member, other)
    assert getattr(by_keyword, option.member) == other
    assert by_keyword == by_attribute != type_()
    assert repr(by_keyword) == f"{type_.__name__}({option.member}={other!r})"
    assert eval(repr(by_keyword)) == by_keyword
    assert option.help in getattr(type_, option.member).__doc__
    assert option.help in type_.__doc__


def test_an_unknown_keyword_is_named():
    with pytest.raises(TypeError, match="unexpected keyword argument 'keeplocal'"):
        MirrorOptions(vmid="100", keeplocal="2d")
    with pytest.raises(TypeError, match="VerifyOptions.* unexpected keyword argument 'vmid'"):
        VerifyOptions(vmid="100")
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
