"""``hangup demo``."""

import sys
import textwrap
from typing import Final

from hangup.cli.options import AsJson, Precise, need_local_stack
from hangup.cli.output import Steps, say, say_json, say_wrapped, tick, waiting, width
from hangup.local.demo.story import Scene, Step, Tell, Verdict

EXAMPLES: Final = ("hangup demo", "hangup demo --precise --json")
STATUS: Final = ("every check holds", "a check does not hold, or the demo could not run")

_COLUMNS: Final = "{:>8}  {:<5} {:<8} {:<9}  {}"
"""When, who, role, session, what."""
_STYLES: Final = {"falls silent": "yellow", "is notified": "magenta", "is closed": "red"}


def demo(*, precise: Precise = False, as_json: AsJson = False) -> int:
    """Run the stack on this machine with an idle timeout of 4 seconds.

    It connects eight real WebSocket clients, lets three of them fall silent,
    and checks what became of each. Nothing outside this machine is used, and
    nothing is left behind.
    """
    need_local_stack()
    from hangup.local.demo.demo import run_demo  # noqa: PLC0415 - its parts are an extra

    if as_json:
        with waiting("Running the demo, which takes some 15 s"):
            verdict = run_demo(_nothing, precise=precise)
        say_json(verdict.as_json())
    else:
        show = _Columns() if sys.stdout.isatty() else _Lines()
        verdict = run_demo(show.tell, precise=precise)
        show.close(verdict)
    return 0 if verdict.holds else 1


def _nothing(_event: Tell) -> None:
    """Tell nothing: the verdict is what was asked for."""


class _Lines:
    """The demo in whole sentences, one a line."""

    def __init__(self) -> None:
        self._steps = 0

    def tell(self, event: Tell) -> None:
        """Print what happens."""
        if not isinstance(event, Step):
            say(str(event))
            return
        self._steps += 1
        if self._steps > _STEPS_BEFORE:
            say()
        say(f"{event.words} ...")

    def close(self, verdict: Verdict) -> None:
        """Print what was checked, and the verdict."""
        for what, kept in verdict.checks:
            say(f"  {'ok  ' if kept else 'FAIL'}  {what}")
        say()
        say(str(verdict))


_STEPS_BEFORE: Final = 2
"""Steps until the clients join."""


class _Columns:
    """The demo in columns that are at most as wide as the terminal, with ticks and a summary."""

    def __init__(self) -> None:
        self._steps = Steps()
        self._scenes = 0

    def tell(self, event: Tell) -> None:
        """Print what happens."""
        if isinstance(event, Step):
            if self._scenes:
                say()
            self._steps.begin(event.words)
            return
        self._steps.end()
        if not self._scenes:
            say((_COLUMNS.format("TIME", "WHO", "ROLE", "SESSION", "WHAT"), "bold"))
        self._scenes += 1
        say((self._row(event), self._style(event)))

    def _row(self, scene: Scene) -> str:
        when = f"{scene.at_s:.1f} s"
        row = _COLUMNS.format(when, *(scene.who or ("sweep", "", "")), scene.brief)
        room = width()
        if len(row) <= room:
            return row
        # A narrow terminal: what happened goes below.
        return textwrap.fill(row, room, subsequent_indent=" " * 10, break_long_words=False)

    def _style(self, scene: Scene) -> str:
        if scene.who is None:
            return "dim"
        return next((s for start, s in _STYLES.items() if scene.brief.startswith(start)), "")

    def close(self, verdict: Verdict) -> None:
        """Print what was checked, and the verdict."""
        self._steps.end()
        for what, holds in verdict.checks:
            mark = tick() if holds else "FAIL"
            say_wrapped(f"  {mark:<4} ", what, label_style="green" if holds else "bold red")
        say()
        clients = (
            (verdict.silent, "silent", "notified, closed and cleaned up"),
            (verdict.notified, "of the session that ended", "notified and closed"),
            (verdict.talking, "talking", "still connected and answered"),
        )
        if verdict.holds:
            for number, who, what in clients:
                _say_number(number, f"{who:<26} {what}")
        kept = sum(holds for _, holds in verdict.checks)
        ran = f"{verdict.sweeps} sweeps, in {verdict.seconds:.0f} s"
        _say_number(kept, f"of {len(verdict.checks)} checks hold; {ran}")
        say()
        for line in textwrap.wrap(str(verdict), width()):
            say((line, "bold green" if verdict.holds else "bold red"))


def _say_number(number: int, of_what: str) -> None:
    say_wrapped(f"{number:>4}  ", of_what, label_style="bold")
