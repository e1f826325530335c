"""Running a command in a node. It is called often, so it imports nothing that costs time."""

import os
import signal
import sys

from . import namespaces, process
from .environment import ENVIRONMENT, state_folder


def _execute(pid, command, environment):
    """Runs a command in a sandbox with our standard streams and returns its exit status as a shell would."""
    namespaces.enter(pid)
    child = os.fork()
    if child == 0:
        try:
            namespaces.die_with_parent()
            os.chdir("/root")
            os.execvpe(command[0], command, environment)
        except FileNotFoundError:
            print(f"lab: {command[0]}: command not found", file=sys.stderr, flush=True)
            os._exit(127)
        except OSError as error:
            print(f"lab: {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
            os._exit(126)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda received, _: os.kill(child, received))
    # The terminal sends these to the command as well; we only wait for what it makes of them.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def run(name, command):
    """`lab exec NAME COMMAND...`; besides nodes it knows the other sandboxes, such as switch-east."""
    record = f"{state_folder()}/run/{name}"
    pid = process.alive(record) if "/" not in name else None
    if pid is None:
        print(f"lab: {name} is not running", file=sys.stderr)
        return 255
    terminal = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}
    return _execute(pid, command, {**ENVIRONMENT, **terminal})
