"""How long calls listen to Python while they go on."""

import os
import signal
import threading
import time

import pytest

import crossover
from crossover_test_support import ask, run


def test_events_come_in_order_in_the_calling_thread():
    seen = []
    assert run(count=500, on_event=lambda event: seen.append((event.vmid, threading.get_ident()))) == 500
    assert seen == [(i, threading.get_ident()) for i in range(500)]


def test_no_listener_is_needed():
    assert run(count=3) == 3


def test_an_event_may_be_kept():
    kept = []
    run(count=3, on_event=kept.append)
    assert [event.vmid for event in kept] == [0, 1, 2]
    assert {event.kind for event in kept} == {"debug"}


def test_what_a_listener_raises_comes_out_after_the_end():
    seen = []

    def listen(event):
        seen.append(event.kind)
        if len(seen) == 3:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough") as caught:
        run(count=10, after=5, wait=True, on_event=listen)
    assert seen == ["debug"] * 3
    assert "listen" in [entry.name for entry in caught.traceback]


def test_a_stop_ends_the_run_and_the_way_out_is_told():
    stop = threading.Event()
    seen = []
    threading.Timer(0.2, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(crossover.Cancelled):
        run(count=1, after=2, wait=True, on_event=lambda event: seen.append(event.kind), stop=stop)
    assert time.monotonic() - begin < 10
    assert seen == ["debug", "thawed", "thawed"]


def test_a_stop_that_is_set_before():
    stop = threading.Event()
    stop.set()
    with pytest.raises(crossover.Cancelled):
        run(wait=True, stop=stop)


def test_a_stop_that_is_none():
    with pytest.raises(AttributeError):
        run(wait=True, stop=object())


def interrupt_soon():
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()


def test_ctrl_c_ends_the_run_in_order():
    seen = []

    def listen(event):
        seen.append(event.kind)
        if event.kind == "debug":
            interrupt_soon()

    with pytest.raises(KeyboardInterrupt):
        run(count=1, after=2, wait=True, on_event=listen)
    assert seen == ["debug", "thawed", "thawed"]


def test_a_second_ctrl_c_hurries_nothing():
    seen = []

    def listen(event):
        seen.append(event.kind)
        if event.kind == "debug":
            interrupt_soon()
        else:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(count=1, after=1, wait=True, on_event=listen)
    assert seen == ["debug", "thawed"]


def test_ctrl_c_inside_a_listener():
    with pytest.raises(KeyboardInterrupt):
        run(count=1, wait=True, on_event=lambda event: signal.raise_signal(signal.SIGINT))


def test_a_signal_handler_runs_meanwhile():
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(crossover.Cancelled):
            run(wait=True, stop=stop)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_run_meanwhile_and_may_call_too():
    stop = threading.Event()
    ended = []

    def call():
        try:
            run(wait=True, stop=stop)
        except crossover.Cancelled:
            ended.append(threading.get_ident())

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    stop.set()
    for thread in threads:
        thread.join(10)
    assert len(ended) == 3


@pytest.mark.parametrize("answer", [True, False])
def test_a_question_is_asked_in_the_calling_thread(answer):
    asked = []

    def confirm(guest):
        asked.append((guest, threading.get_ident()))
        return answer

    assert ask(confirm) is answer
    ((guest, thread),) = asked
    assert isinstance(guest, crossover.GuestReport) and guest.vmid == 100  # it may be kept
    assert thread == threading.get_ident()


def test_who_is_not_asked_agrees():
    assert ask() is True


def test_what_a_question_raises_comes_out_after_the_end():
    seen = []

    def confirm(guest):
        raise LookupError(guest.vmid)

    with pytest.raises(LookupError, match="100") as caught:
        ask(confirm, lambda event: seen.append(event.kind))
    assert seen[-1] == "thawed"
    assert "confirm" in [entry.name for entry in caught.traceback]


@pytest.mark.parametrize("answer", [None, 1, "no"])
def test_an_answer_is_yes_or_no(answer):
    with pytest.raises(TypeError, match=f"confirm has to return bool, not {type(answer).__name__}"):
        ask(lambda guest: answer)


def test_who_stops_is_not_asked():
    stop = threading.Event()
    stop.set()
    asked = []
    with pytest.raises(crossover.Cancelled):
        ask(asked.append, stop=stop)
    assert asked == []


def test_who_has_raised_is_not_asked():
    asked = []

    def listen(event):
        raise LookupError(event.kind)

    with pytest.raises(LookupError):
        ask(asked.append, on_event=listen)
    assert asked == []


def test_an_answer_of_who_stops_does_not_count():
    stop = threading.Event()

    def confirm(guest):
        stop.set()
        return True

    with pytest.raises(crossover.Cancelled):
        ask(confirm, stop=stop)


def test_ctrl_c_inside_a_question():
    def confirm(guest):
        signal.raise_signal(signal.SIGINT)
        return True

    with pytest.raises(KeyboardInterrupt):
        ask(confirm)
