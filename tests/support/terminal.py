"""Run a program on a terminal of its own, as a user sees it, and type Ctrl-C."""

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HANGUP", "Screen", "on_terminal", "plain_environment", "without_escapes"]

HANGUP = [sys.executable, "-m", "hangup.cli"]

# The terminal must be that of the session: only then Ctrl-C, typed there, is an interruption. A
# shell that runs the tests in the background has SIGINT ignored: the program would leave it so.
_AS_CONTROLLING_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
_SHAPES_OUTPUT = {
    "CLICOLOR", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "LANG", "LC_ALL", "LC_CTYPE", "LINES",
    "NO_COLOR", "PYTHONIOENCODING", "PYTHONUTF8", "PY_COLORS", "TERM", "TERMINAL_WIDTH",
}  # fmt: skip
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, kw_only=True)
class Screen:
    """What a program wrote to its terminal, to its standard error if that was apart, its status."""

    output: str
    errors: str
    status: int

    @property
    def lines(self) -> list[str]:
        """The lines of its output without escapes, as they stand in the end."""
        return [line.rpartition("\r")[2].rstrip() for line in without_escapes(self.output)]


def without_escapes(text: str) -> list[str]:
    """Return the lines of a terminal's text without colours and moves of the cursor."""
    return _ESCAPE.sub("", text).replace("\r\n", "\n").split("\n")


def plain_environment(**changes: str) -> dict[str, str]:
    """Return this environment without what shapes a program's output, but with the changes."""
    kept = {name: value for name, value in os.environ.items() if name not in _SHAPES_OUTPUT}
    return {**kept, "TERM": "xterm", "LANG": "C.UTF-8", **changes}


def on_terminal(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    columns: int = 80,
    cwd: Path | None = None,
    errors_apart: bool = False,
    type_when: Callable[[str], bool] | None = None,
    typed: bytes = b"\x03",
    within_s: float = 120.0,
) -> Screen:
    """Run a command on a terminal and return what it wrote there.

    ``errors_apart`` gives standard error a terminal of its own. ``typed`` (Ctrl-C) is typed once,
    when ``type_when`` says so of what was written so far, to either.
    """
    ours, theirs = os.openpty()
    our_errors, their_errors = os.openpty() if errors_apart else (ours, theirs)
    for side in {theirs, their_errors}:
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", _AS_CONTROLLING_TERMINAL, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=their_errors,
        cwd=cwd,
        env=plain_environment() if environment is None else dict(environment),
        start_new_session=True,
    )
    for side in {theirs, their_errors}:
        os.close(side)
    written = {ours: bytearray(), our_errors: bytearray()}
    try:
        deadline = time.monotonic() + within_s
        open_ends = set(written)
        while open_ends:
            assert time.monotonic() < deadline, _text(written[ours])
            for end in select.select(open_ends, [], [], 1.0)[0]:
                chunk = _read(end)
                if not chunk:
                    open_ends.discard(end)
                written[end] += chunk
            so_far = _text(written[ours]) + _text(written[our_errors])
            if type_when is not None and type_when(so_far):
                type_when = None
                os.write(ours, typed)
        status = process.wait(timeout=within_s)
    finally:
        process.kill()
        process.wait()
        for end in written:
            os.close(end)
    return Screen(
        output=_text(written[ours]),
        errors=_text(written[our_errors]) if errors_apart else "",
        status=status,
    )


def _read(end: int) -> bytes:
    try:
        return os.read(end, 65_536)
    except OSError:  # on Linux, once nobody has the other side open
        return b""


def _text(written: bytearray) -> str:
    return written.decode(errors="replace")
