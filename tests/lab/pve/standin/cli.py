"""Command lines as PVE reads them: `name positional... --option value`, one dash or two, booleans with or without value."""
import os
import re
import sys

from . import node
from .errors import BadParameter, BadUsage, Die

STATES_TRUE = {"1", "on", "yes", "true"}
STATES_FALSE = {"0", "off", "no", "false"}


def boolean(text):
    lowered = text.lower()
    if lowered in STATES_TRUE:
        return 1
    if lowered in STATES_FALSE:
        return 0
    raise ValueError(f"type check ('boolean') failed - got '{text}'")


def integer(text):
    if not re.fullmatch(r"[+-]?\d+", text):
        raise ValueError(f"type check ('integer') failed - got '{text}'")
    return int(text)


def vmid(text):
    if not re.fullmatch(r"[1-9][0-9]{2,8}", text):
        raise ValueError("invalid format - value does not look like a valid VM ID\n")
    return int(text)


def config_id(text):
    if not re.fullmatch(r"(?i)[a-z][a-z0-9_-]+", text):
        raise ValueError(f"invalid format - invalid configuration ID '{text}'\n")
    return text


def disk_size(text):
    if not re.fullmatch(r"\+?\d+(\.\d+)?[KMGT]?", text):
        raise ValueError("value does not match the regex pattern")
    return text


def one_of(*values):
    def check(text):
        if text not in values:
            raise ValueError(f"value '{text}' does not have a value in the enumeration '{', '.join(values)}'")
        return text
    return check


class Command:
    """One sub-command: positional [(name, check)], options {name: check}, and the function that does it.

    A positional whose name ends in `?` may be absent. `options` may be a function name -> check or None, for
    commands that take any configuration key."""

    def __init__(self, run, usage, positional=(), options=None):
        self.run, self.usage, self.positional, self.options = run, usage, list(positional), options or {}

    def option(self, name):
        if callable(self.options):
            return self.options(name)
        return self.options.get(name)

    def parse(self, args):
        words, given = [], {}
        args = list(args)
        while args:
            arg = args.pop(0)
            if arg == "--":
                words += args
                break
            match = re.fullmatch(r"--?([a-zA-Z][\w-]*)(?:=(.*))?", arg, re.S)
            if not match:
                words.append(arg)
                continue
            name, value = match.groups()
            check = self.option(name)
            if check is None:
                sys.stderr.write(f"Unknown option: {name}\n")
                raise BadUsage("unable to parse option")
            if value is None:
                if check is boolean and (not args or args[0].startswith("-")):
                    value = "1"
                elif not args:
                    sys.stderr.write(f"Option {name} requires an argument\n")
                    raise BadUsage("unable to parse option")
                else:
                    value = args.pop(0)
            given[name] = (check, value)
        values = {}
        for name, check in self.positional:
            if words:
                given[name.rstrip("?")] = (check, words.pop(0))
            elif not name.endswith("?"):
                raise BadUsage("not enough arguments")
        if words:
            raise BadUsage("too many arguments")
        for name, (check, value) in given.items():
            try:
                values[name] = check(value)
            except ValueError as error:
                raise BadParameter(name, str(error)) from None
        return values


def decode(argv):
    return [os.fsencode(arg).decode("utf-8", "replace") for arg in argv]


def main(program, commands, unknown):
    """Runs a command of {"words of it": Command}; unknown(words) prints the usage of the whole program."""
    node.pay_command_cost()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace", line_buffering=True)
    args = decode(sys.argv[1:])
    for words in (2, 1, 0):
        command = commands.get(" ".join(args[:words]))
        if command and len(args) >= words:
            break
    else:
        sys.stderr.write(unknown(args))
        sys.exit(255)
    code = 0
    try:
        code = command.run(**command.parse(args[words:])) or 0
    except BadParameter as error:
        sys.stderr.write(f"400 Parameter verification failed.\n{error}{program} {command.usage}\n")
        code = 255
    except BadUsage as error:
        sys.stderr.write(f"400 {error}\n{program} {command.usage}\n")
        code = 255
    except Die as error:
        sys.stderr.write(f"{error}\n")
        code = error.code
    except BrokenPipeError:
        sys.stderr.close()
        os._exit(255)
    sys.stdout.flush()
    sys.exit(code)
