"""`qmeventd VMID PID`: waits until this QEMU has ended, and runs `qm cleanup`. The real one is a daemon that every QEMU
of the node is connected to."""
import contextlib
import os
import select
import sys

from . import qm
from .errors import Die


def main():
    vmid, process = map(int, sys.argv[1:])
    with contextlib.suppress(ProcessLookupError):
        ended = select.poll()
        ended.register(os.pidfd_open(process), select.POLLIN)
        ended.poll()
    with contextlib.suppress(Die, OSError):  # a folder that played the node may be gone
        qm.cleanup(vmid)
