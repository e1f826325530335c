"""Processes we started: remembered by number *and* start time, so that a reused number is never killed."""

import os
import select
import signal
import time


class LabError(Exception):
    """Something the caller should read as one line, without a traceback."""


def start_time(pid):
    """The kernel's start time of a process, in ticks since boot, or None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as source:
            stat = source.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(")") + 2:].split()
    return None if fields[0] in "ZX" else int(fields[19])


def remember(path, pid):
    """Writes what `alive` and `kill` need to know the process again."""
    with open(f"{path}.new", "w") as out:
        out.write(f"{pid} {start_time(pid)}\n")
    os.rename(f"{path}.new", path)


def alive(path):
    """The number of the remembered process while it lives, else None."""
    try:
        with open(path) as record:
            pid, started = record.read().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if str(start_time(pid)) == started else None


def kill(path, timeout=10):
    """Kills the remembered process at once and waits until it is gone; does nothing if it is gone already."""
    pid = alive(path)
    if pid is None:
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if alive(path) != pid:
            return
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        if not select.select([handle], [], [], timeout)[0]:
            raise LabError(f"process {pid} did not end within {timeout} s")
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def wait_until(condition, what, timeout=30, interval=0.02):
    """Returns the first true value of `condition()`; raises LabError naming `what` when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout} s")
        time.sleep(interval)
