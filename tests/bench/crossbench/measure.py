"""Runs one command in a node and prints what it took, as JSON: `measure.py COMMAND...`.

Times are those of the machine's monotonic clock, so that they can be compared with what other nodes tell.
"""

import json
import os
import subprocess
import sys
import tempfile
import time


def measure(command):
    with tempfile.TemporaryFile() as errors:
        begin = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
        lines = [(time.monotonic() - begin, line.rstrip("\n")) for line in child.stdout]
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - begin
        errors.seek(0)
        return {
            "status": os.waitstatus_to_exitcode(status), "seconds": seconds, "lines": lines,
            # Of the command and of everything it started and waited for: a shell's whole pipe.
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            # Of the largest of them.
            "peak_rss_bytes": usage.ru_maxrss << 10,
            "errors": errors.read().decode(errors="replace")}


if __name__ == "__main__":
    json.dump(measure(sys.argv[1:]), sys.stdout)
