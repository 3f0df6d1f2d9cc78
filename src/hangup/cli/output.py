"""What every command prints with: results on standard output, all else on standard error."""

import os
import signal
import sys
from types import FrameType


def say(line: str) -> None:
    """Print a line of the result."""
    try:
        # Flushed: what happens is worth seeing while it happens, through a pipe too.
        print(line, flush=True)
    except BrokenPipeError:
        # Nobody reads on (`hangup demo | head`): end in order, without a message.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        interrupt(signal.SIGINT, None)


def say_aside(line: str) -> None:
    """Print a line to standard error, so that it gets into no result that is piped on."""
    print(f"hangup: {line}", file=sys.stderr, flush=True)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do now, which inside an event loop differs from outside."""
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    if not callable(on_ctrl_c):
        raise KeyboardInterrupt
    on_ctrl_c(number, frame)


class StderrLog:
    """``Log`` for a terminal: a line for each warning and error, none for what is normal."""

    def info(self, event: str, **fields: object) -> None:
        """Print nothing."""

    def warning(self, event: str, **fields: object) -> None:
        """Print a line to standard error."""
        say_aside(f"{event}: {', '.join(f'{name} {value}' for name, value in fields.items())}")

    error = warning
