"""What the sandboxes of a lab have used, read from outside: processor time, the link's bytes, the peak of a process."""

import os
import re
import threading
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def _pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _namespace(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


class Sandbox:
    """One of the lab's sandboxes (a node, or a cluster's storage), known by its first process."""

    def __init__(self, lab_folder, name):
        self.pid = int((Path(lab_folder) / "run" / name).read_text().split()[0])
        self._namespace = _namespace(self.pid)

    def pids(self):
        return {pid for pid in _pids() if _namespace(pid) == self._namespace}

    def cpu_seconds(self):
        """Of all processes it has or ever had: what an ended one used went to the parent that waited for it, and the
        first process waits for all orphans. Not in it: what `lab exec` started, for that has its parent outside."""
        total = 0
        for pid in self.pids():
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
            except OSError:
                continue
            total += sum(map(int, stat[stat.rindex(")") + 2:].split()[11:15]))
        return total / TICK

    def wire_bytes(self):
        """Both directions of the link between the clusters; of a switch."""
        for line in Path(f"/proc/{self.pid}/net/dev").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name.strip() == "wan":
                columns = rest.split()
                return int(columns[0]) + int(columns[8])
        raise RuntimeError("the switch has no link")

    def named(self, command):
        """The processes in it whose program has this name."""
        found = []
        for pid in self.pids():
            try:
                if Path(f"/proc/{pid}/comm").read_text().strip() == command:
                    found.append(pid)
            except OSError:
                pass
        return found


class PeakWatch:
    """The largest resident set any process with a name reaches in a sandbox while the watch goes on."""
    INTERVAL = 0.1

    def __init__(self, sandbox, command):
        self._sandbox, self._command = sandbox, command
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.peak_bytes = 0

    def _watch(self):
        while not self._ended.wait(self.INTERVAL):
            for pid in self._sandbox.named(self._command):
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                # The kernel keeps the peak itself: only what grows in the last interval can be missed.
                if found := re.search(r"VmHWM:\s+(\d+) kB", status):
                    self.peak_bytes = max(self.peak_bytes, int(found[1]) << 10)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
