"""The stubs say what the module has, and everything public is described."""

import ast
import inspect

import pytest

import crossover


@pytest.fixture(scope="module")
def stub(source):
    return ast.parse((source / "python/crossover/__init__.pyi").read_text())


def names_in(body):
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, ast.AnnAssign):
            yield node.target.id


def public(names):
    return {name for name in names if not name.startswith("_")}


def classes():
    return [getattr(crossover, name) for name in crossover.__all__ if inspect.isclass(getattr(crossover, name))]


def test_every_public_name_is_in_both(stub):
    assert public(names_in(stub.body)) == public(crossover.__all__)
    assert public(name for name in vars(crossover) if not inspect.ismodule(getattr(crossover, name))) == public(
        crossover.__all__
    )
    assert crossover.__all__ == sorted(crossover.__all__)


@pytest.mark.parametrize("type_", classes(), ids=lambda type_: type_.__name__)
def test_every_member_is_in_both(stub, type_):
    (node,) = [node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == type_.__name__]
    real = vars(type_) if type_ is not crossover.Error else vars(type_) | type_.__annotations__
    assert public(names_in(node.body)) == public(real)


@pytest.mark.parametrize("type_", classes(), ids=lambda type_: type_.__name__)
def test_parameters_are_the_same(stub, type_):
    (node,) = [node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == type_.__name__]
    for function in (node for node in node.body if isinstance(node, ast.FunctionDef)):
        decorators = {ast.unparse(decorator) for decorator in function.decorator_list}
        if function.name.startswith("_") or decorators & {"property", "rewrite.setter"}:
            continue
        text = getattr(type_, function.name).__text_signature__
        if text is None:  # bound directly, without parameters
            assert [argument.arg for argument in function.args.args] == ["self"]
            continue
        real = ast.parse(f"def f{text.replace('$', '')}: ...").body[0].args
        assert [a.arg for a in real.args] == [a.arg for a in function.args.args], function.name
        assert [ast.unparse(d) for d in real.defaults] == [ast.unparse(d) for d in function.args.defaults]


@pytest.mark.parametrize(
    "name, options",
    [
        ("MirrorOptions", crossover.option_list()),
        ("VerifyOptions", crossover.verify_option_list()),
        ("RecoverOptions", crossover.recover_option_list()),
        ("PruneOptions", crossover.prune_option_list()),
        ("MigrateOptions", crossover.migrate_option_list()),
    ],
)
def test_the_options_of_the_stub(stub, name, options):
    (node,) = [node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == name]
    (init,) = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    defaults = {arg.arg: ast.literal_eval(value) for arg, value in zip(init.args.kwonlyargs, init.args.kw_defaults)}
    assert defaults == {option.member: option.default for option in options}
    assert list(defaults) == [option.member for option in options]


def test_everything_public_is_described():
    assert crossover.__doc__
    for type_ in classes():
        assert type_.__doc__, type_
        assert type_.__module__ == "crossover"
        for name in public(vars(type_)):
            assert getattr(type_, name).__doc__, f"{type_.__name__}.{name}"
    for name in public(crossover.__all__):
        assert getattr(crossover, name).__doc__, name
    assert crossover.__version__.count(".") == 2
