"""What goes wrong."""


class Error(Exception):
    """One failure of the library: what was tried, on what, and why it failed.

    Decide by ``code``, never by the text. ``str()`` is one line, "operation subject: cause". No secret is in any of it.
    """

    code: str
    """The kind of the failure: "usage", "not_found", "already_exists", "permission", "unreachable", "host_key",
    "authentication", "conflict", "locked", "in_use", "io", "format", "timeout", "unsupported" or "command"."""
    operation: str
    """What was tried, such as "connect"."""
    subject: str
    """On what, such as "pve04"; may be empty."""
    cause: str
    """Why it failed."""
    retryable: bool
    """Whether trying the same again later can help."""

    def __init__(self, code, operation, subject, cause, retryable=False):
        super().__init__(code, operation, subject, cause, retryable)
        self.code = code
        self.operation = operation
        self.subject = subject
        self.cause = cause
        self.retryable = retryable

    def __str__(self):
        return f"{self.operation} {self.subject}: {self.cause}" if self.subject else f"{self.operation}: {self.cause}"


class Cancelled(BaseException):
    """A call ended because its ``stop`` was set; guests were thawed and unlocked first.

    It is deliberately neither an Error nor an Exception, so that a handler for failures cannot swallow it (as
    asyncio.CancelledError and KeyboardInterrupt).
    """


for _type in (Error, Cancelled):
    _type.__module__ = "crossover"
