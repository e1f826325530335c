"""How a command ends badly: a message on stderr and a code.

Perl's die exits with whatever errno happens to hold, else 255; codes seen with the real commands are repeated."""


class Die(Exception):
    def __init__(self, message, code=255):
        super().__init__(message)
        self.code = code


class BadParameter(Exception):
    """`400 Parameter verification failed.` and the usage line; format errors end with a line feed of their own."""

    def __init__(self, parameter, message):
        super().__init__(f"{parameter}: {message}\n")


class BadUsage(Exception):
    """`400 <text>` and the usage line."""
