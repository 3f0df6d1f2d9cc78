"""What every command prints with: results on standard output, all else on standard error.

A terminal gets colours, and a spinner where something takes a while. Whatever is no terminal gets
plain lines, and so does a terminal where ``NO_COLOR`` is set or ``TERM`` is ``dumb``. Rich is
loaded only where it has something to draw.
"""

import json
import os
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.spinner import Spinner

Part = str | tuple[str, str]
"""A piece of a line, or a piece and its style as Rich names it: ``("FAIL", "bold red")``."""

WIDTH: Final = 80
"""No line that is laid out here is longer, however wide the terminal is."""

UNCHANGED: Final = "nothing is changed; run it again"
"""What an interruption means where a command only reads."""

_TICK: Final = "✔"
_COERCED: Final = "C.UTF-8"


def say(*parts: Part) -> None:
    """Print a line of the result."""
    with _spinner.paused():
        try:
            _print(sys.stdout, parts)
        except BrokenPipeError:
            # Nobody reads on (`hangup demo | head`): end in order, without a message.
            discard_output()
            interrupt(signal.SIGINT, None)


def say_drawn(drawing: "RenderableType", *, width: int) -> None:
    """Print what Rich draws, on a terminal that ``is_drawn_on``."""
    with _spinner.paused():
        _console(sys.stdout).print(drawing, width=width)


def printable(text: str) -> str:
    """Return a text of somebody else's without what would move the cursor or end the line."""
    return "".join(one if one.isprintable() else "?" for one in text)


def say_wrapped(label: str, text: str, *, label_style: str = "", style: str = "") -> None:
    """Print a text in lines that begin below one another, and a label in front of the first."""
    for line in textwrap.wrap(text, width() - len(label), break_long_words=False):
        say((label, label_style), (line, style))
        label = " " * len(label)


def say_rest(kind: str, there_are: int, most: int | None) -> None:
    """Say how many lines of a kind were left out, where at most so many were printed."""
    if most is not None and there_are > most:
        say(f"{kind}: ... and {there_are - most:,} more; --all or --json lists all")


def say_json(value: object) -> None:
    """Print the result as JSON, for programs."""
    say(json.dumps(value, indent=2))


def say_aside(line: str) -> None:
    """Print a line to standard error, so that it gets into no result that is piped on."""
    write_aside(("hangup:", "bold red"), f" {line}")


def write_aside(*parts: Part) -> None:
    """Print a line to standard error as it is."""
    with _spinner.paused():
        _print(sys.stderr, parts)


def say_progress(words: str) -> None:
    """Tell how far a command is: beside the spinner, or in a line on standard error."""
    if not _spinner.update(words):
        say_aside(words)


@contextmanager
def waiting(words: str) -> Iterator[None]:
    """Show on standard error that something takes a while, if that is a terminal."""
    start_waiting(words)
    try:
        yield
    finally:
        stop_waiting()


@contextmanager
def interrupted_means(what: str) -> Iterator[None]:
    """Say what it means where the block is interrupted, and what to do."""
    try:
        yield
    except KeyboardInterrupt:
        say_aside(f"interrupted: {what}")
        raise


def start_waiting(words: str) -> None:
    """Show these words, with a spinner, until ``stop_waiting`` or other words."""
    if is_coloured(sys.stderr):
        _spinner.start(words)
    elif sys.stderr.isatty():
        _print(sys.stderr, (f"{words} ...",))


def stop_waiting() -> None:
    """Remove the spinner; harmless where there is none."""
    _spinner.stop()


class Steps:
    """What a long command does, one step after the other.

    On a terminal a step has a spinner while it lasts and a tick once it is done. Elsewhere it is a
    line that ends with three dots.
    """

    def __init__(self) -> None:
        self._current: str | None = None

    def begin(self, words: str) -> None:
        """End the step before, and say which one begins."""
        self.end()
        if is_coloured(sys.stdout) and is_coloured(sys.stderr):
            self._current = words
            start_waiting(words)
        else:
            say(f"{words} ...")

    def end(self) -> None:
        """Say that the current step is done, if there is one."""
        stop_waiting()
        if self._current is not None:
            done, self._current = self._current, None
            say((tick(), "green"), (f" {done}", "dim"))


def is_coloured(stream: TextIO) -> bool:
    """Return whether a stream takes colours and moves of the cursor."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in {"dumb", "unknown"}
    return wanted and stream.isatty()


def is_drawn_on(stream: TextIO) -> bool:
    """Return whether a stream takes colours, and shows boxes and symbols too."""
    return is_coloured(stream) and _shows(_TICK, stream)


def width() -> int:
    """Return how many characters a line that is laid out may have."""
    return min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)


def tick() -> str:
    """Return a tick, or ``ok`` where standard output cannot show one."""
    return _TICK if _shows(_TICK, sys.stdout) else "ok"


def _shows(symbol: str, stream: TextIO) -> bool:
    """Return whether a terminal shows a symbol, as far as its encoding and the locale tell.

    In the locale C Python writes UTF-8 all the same, and sets LC_CTYPE to C.UTF-8 (PEP 538), which
    says nothing about the terminal.
    """
    try:
        symbol.encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    names = [os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    if names[1] == _COERCED:
        names[1] = None
    return "utf" in next(filter(None, names), "C").lower()


def interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do now, which inside an event loop differs from outside."""
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    if not callable(on_ctrl_c):
        raise KeyboardInterrupt
    on_ctrl_c(number, frame)


def discard_output() -> None:
    """Let whatever is still written to standard output go nowhere, without an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(stream: TextIO, parts: Sequence[Part]) -> None:
    if is_coloured(stream):
        from rich.text import Text  # noqa: PLC0415 - only where there is something to draw

        _console(stream).print(Text.assemble(*parts), soft_wrap=True)
    else:
        line = "".join(part if isinstance(part, str) else part[0] for part in parts)
        # Flushed: what happens is worth seeing while it happens, through a pipe too.
        print(line, file=stream, flush=True)


def _console(stream: TextIO) -> "Console":
    from rich.console import Console  # noqa: PLC0415 - likewise

    return Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)


class _Spinner:
    """The one spinner, which makes room for every line that is printed meanwhile."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._lock = threading.RLock()

    def start(self, words: str) -> None:
        """Show it with these words."""
        if self.update(words):
            return
        from rich.live import Live  # noqa: PLC0415 - likewise

        with self._lock:
            self._live = Live(
                self._drawn(words),
                console=_console(sys.stderr),
                refresh_per_second=12.5,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def update(self, words: str) -> bool:
        """Change the words; return False if none is shown."""
        with self._lock:
            if self._live is None:
                return False
            self._live.update(self._drawn(words))
            return True

    def stop(self) -> None:
        """Remove it."""
        with self._lock:
            if self._live is not None:
                self._live.stop()
                self._live = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take it off the screen until the end of the block."""
        with self._lock:
            live = self._live
            if live is not None:
                live.stop()
            yield
            if live is not None and self._live is live:
                live.start()

    def _drawn(self, words: str) -> "Spinner":
        from rich.spinner import Spinner  # noqa: PLC0415 - likewise

        kind = "dots" if _shows(_TICK, sys.stderr) else "line"
        return Spinner(kind, text=f"{words} ...", style="cyan")


_spinner: Final = _Spinner()


class StderrLog:
    """``Log`` for a terminal: a line for each warning and error, none for what is normal."""

    def info(self, event: str, **fields: object) -> None:
        """Print nothing."""

    def warning(self, event: str, **fields: object) -> None:
        """Print a line to standard error."""
        say_aside(f"{event}: {', '.join(f'{name} {value}' for name, value in fields.items())}")

    error = warning
