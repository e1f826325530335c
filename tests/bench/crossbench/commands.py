"""The command line of the benchmark."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from .other_rows import OTHER_ROWS
from .rows import COPY_ROWS
from .site import BenchError, Labs, copy_limit
from .table import render

ROWS = {row.name: row for row in (*COPY_ROWS, *OTHER_ROWS)}
QUICK_SCALE = 1 / 64
QUICK_REPEAT = 1


def _parser():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description="Measures crossover against the stock pipes, "
                                     "side by side, in a lab of its own. See tests/bench/README.md.")
    parser.add_argument("--row", action="append", choices=ROWS, metavar="ROW",
                        help=f"only this row; may be given several times. Rows: {', '.join(ROWS)}")
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions (default 5)")
    parser.add_argument("--scale", type=float, metavar="FACTOR", help="sizes and counts times this (default 1)")
    parser.add_argument("--quick", action="store_true", help="once, at 1/64 of the size: shows that it works")
    parser.add_argument("--earlier", type=Path, metavar="PROGRAM", help="another build's crossover, which takes turns "
                        "with this one in the rows in which nothing changed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured there")
    return parser


def _tell(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def _processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def main():
    options = _parser().parse_args()
    # The lab goes down on every way out.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    scale = options.scale or (QUICK_SCALE if options.quick else 1)
    repeat = options.repeat or (QUICK_REPEAT if options.quick else 5)
    labs = Labs(os.environ.get("CROSSOVER_LAB_STATE") or "/var/lib/crossover-bench",
                str(options.earlier.resolve()) if options.earlier else None)
    report = {"version": 1, "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "scale": scale,
              "repeat": repeat, "processors": os.cpu_count(), "processor": _processor(), "rows": []}
    status = 0
    print(f"{report['processors']} x {report['processor']}; scale {scale:g}, {repeat} repetitions\n")
    try:
        copy_limit()
        for name in options.row or ROWS:
            result = ROWS[name](labs, scale, repeat).run(_tell)
            print(render(result), flush=True)
            report["rows"].append(result.to_json())
            if options.json:
                options.json.write_text(json.dumps(report, indent=1) + "\n")
    except BenchError as error:
        print(f"tests/bench/run: {error}", file=sys.stderr)
        status = 1
    finally:
        labs.down()
    return status
