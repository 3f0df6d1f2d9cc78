"""What Ctrl-C leaves behind, in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hangup.cli.output import say_aside

UNCHANGED: Final = "nothing is changed; run it again"
"""What it means where a command only reads."""


@contextmanager
def interrupted_means(what: str) -> Iterator[None]:
    """Say what it means where the block is interrupted, and what to do."""
    try:
        yield
    except KeyboardInterrupt:
        say_aside(f"interrupted: {what}")
        raise


def goes_on(stack: str) -> str:
    """Return what an interruption means while a stack is changed."""
    return (
        f"what CloudFormation has begun in the stack {stack} goes on; run the same command again to"
        " follow it"
    )
