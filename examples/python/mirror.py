#!/usr/bin/python3
"""Mirrors guests and prints what happens, one JSON object a line; the last is the report.

    PYTHONPATH=build/dev/python examples/python/mirror.py destination=pve04 pool=data2 vmid=100 online=yes

Arguments are options by the names they have in Python. Ends by SIGINT and SIGTERM in order: guests are thawed and
unlocked first.
"""

import json
import signal
import sys
import threading

import crossover


def options_from(arguments):
    kinds = {option.member: option.type for option in crossover.option_list()}
    given = {}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if kinds.get(name) == "bool":
            given[name] = {"yes": True, "no": False}.get(value, value)
        elif kinds.get(name) == "tuple[str, ...]":
            given.setdefault(name, []).append(value)
        else:
            given[name] = value
    return crossover.MirrorOptions(**given)


def main():
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    try:
        migrator = crossover.Migrator(options_from(sys.argv[1:]))
        report = migrator.mirror(on_event=lambda event: print(event.to_json(), flush=True), stop=stop)
    except TypeError as error:  # an option that does not exist
        print(f"mirror.py: {error}", file=sys.stderr)
        return 2
    except crossover.Error as error:
        print(f"mirror.py: {error}", file=sys.stderr)
        return 2 if error.code == "usage" else 4
    except crossover.Cancelled:
        print("mirror.py: interrupted", file=sys.stderr)
        return 130

    print(json.dumps(json.loads(report.to_json())))
    return 0 if all(guest.outcome in ("ok", "planned") for guest in report.guests) else 1


if __name__ == "__main__":
    sys.exit(main())
