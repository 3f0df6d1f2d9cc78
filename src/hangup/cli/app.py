"""The entry point. It imports the standard library alone until it knows that the rest is there.

Typer and Rich are the extra ``cli``: without them a program that uses Hangup in Lambda stays small.
"""

import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from hangup import __version__
from hangup.cli.output import discard_output, say, say_aside

INTERRUPTED: Final = 130

_EXTRA: Final = ("rich", "typer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0 done, 1 failed, 130 interrupted.

    It is also interrupted when nobody reads its output any more. Raise ``SystemExit`` with 0 after
    ``--help``, ``--version`` and the like, with 2 for wrong usage.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if not all(find_spec(name) for name in _EXTRA):
            say_aside("the command line needs Typer and Rich: pip install 'hangup[cli]'")
            return 1
        if words == ["--version"]:  # at once, without loading what is not needed for it
            say(f"hangup {__version__}")
            raise SystemExit(0)
        from hangup.cli.program import run  # noqa: PLC0415 - it needs the extra

        return run(words)
    except KeyboardInterrupt:
        # From here on nothing is worth waiting for: a second Ctrl-C ends the process at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        return INTERRUPTED
    except BrokenPipeError:
        discard_output()
        return INTERRUPTED
