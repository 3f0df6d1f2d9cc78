"""Every exception that Hangup raises on purpose.

HangupError
├── ConfigurationError   an environment variable is missing or malformed; the message names it
│   └── SchemaError      a field of a table schema says what it must not; carries the field
├── InvalidRequest       a client or caller sent something unusable; carries the status to answer
├── BackendError         AWS answered with an error that nobody expected; says whether to retry
├── SweepFailed          a sweep ended with failures; the sweep after it tries those again
├── DeployError          a stack on AWS is not in a state that allows what was asked for
├── ProbeError           a client of the doctor could not connect to the user's API
├── BuildError           the infrastructure cannot be built on this machine; says what is missing
├── MissingExtraError    an extra is not installed; an ImportError that says which
├── CleanupIncomplete    a session ended and some of its listeners could not be closed yet
└── LocalStackError      the stack on this machine could not be started, deployed or reached

Expected outcomes are values, not exceptions: a connection that is gone, a claim that was lost, a
record that somebody else cleaned up.
"""


class HangupError(Exception):
    """Anything that Hangup raises on purpose; its text is fit for a user to read."""


class ConfigurationError(HangupError):
    """An environment variable is missing or malformed; the text names it and what it expects."""


class SchemaError(ConfigurationError):
    """A ``field`` of a table schema says what it must not; ``text`` is what is said of it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"the table schema's {field} {text}")
        self.field = field
        self.text = text


class InvalidRequest(HangupError):
    """A client or a caller sent something that cannot be accepted.

    ``status`` is the HTTP status to answer (400 to 499). The text says what was wrong with the
    request without repeating what it contained, so it may be logged and sent back.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BackendError(HangupError):
    """AWS answered an operation with an error that is not one of its normal outcomes.

    ``operation`` and ``code`` are AWS's own names. ``retryable`` says whether the same call may
    succeed later: throttling, a 5xx, a timeout, a broken connection, a transaction conflict.
    """

    def __init__(self, operation: str, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(f"{operation} failed with {code}: {message}")
        self.operation = operation
        self.code = code
        self.retryable = retryable


class SweepFailed(HangupError):
    """A sweep ended with failures; its metrics are out, and the next sweep tries again."""


class CleanupIncomplete(HangupError):
    """A session ended, but some of its listeners are not closed and cleaned up yet."""


class LocalStackError(HangupError):
    """The stack on this machine could not be started, deployed or reached; the text says why."""


class DeployError(HangupError):
    """A stack on AWS could not be deployed, changed or removed; the text says why."""


class ProbeError(HangupError):
    """The client of the doctor's probe could not connect; the text says why."""


class BuildError(HangupError):
    """The infrastructure cannot be built on this machine; the text says what is missing."""


class MissingExtraError(HangupError, ImportError):
    """What was imported needs an extra that is not installed; the text says how to install it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra of Hangup: pip install 'hangup[{extra}]'")
