"""Failures and cancellations."""

import pickle

import pytest

import crossover
from crossover import Cancelled, Error, KeepWindow


def test_an_error_from_the_library():
    with pytest.raises(Error) as caught:
        KeepWindow.parse("soon")
    error = caught.value
    assert (error.code, error.operation, error.subject) == ("usage", "read option", "keep=soon")
    assert error.retryable is False
    assert str(error) == f"{error.operation} {error.subject}: {error.cause}"


def test_an_error_is_an_exception_like_others():
    error = Error("unreachable", "connect", "", "refused", True)
    assert str(error) == "connect: refused"
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.operation, again.subject, again.cause, again.retryable) == error.args
    assert Error.__module__ == Cancelled.__module__ == "crossover"


def test_every_code_is_documented(source, enumerators_of):
    text = (source / "python/crossover/_errors.py").read_text()
    for code in enumerators_of("error.hpp", "ErrorCode"):
        assert f'"{code}"' in text


def test_a_handler_for_failures_does_not_swallow_a_cancellation():
    assert not issubclass(Cancelled, Exception)
    assert not issubclass(Cancelled, crossover.Error)
