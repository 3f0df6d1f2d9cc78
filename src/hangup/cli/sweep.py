"""``hangup sweep``."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final

import typer

from hangup.cli.deployments import (
    Config,
    EndpointUrl,
    Function,
    Profile,
    Region,
    Settings,
    Where,
    described,
)
from hangup.cli.options import AllLines, AsJson, Yes, whole_number
from hangup.cli.output import (
    interrupted_means,
    say,
    say_aside,
    say_json,
    say_progress,
    say_rest,
    say_wrapped,
    waiting,
)
from hangup.cli.questions import agreed, may_read
from hangup.ops.sweep import Swept, Verdict
from hangup.ops.sweep import sweep as sweep_once
from hangup.ops.wiring import environment_by_file, environment_by_function, table_size

EXAMPLES: Final = (
    "hangup sweep --dry-run",
    "hangup sweep --max-closes 10",
    "hangup sweep --dry-run --json",
)
STATUS: Final = ("the sweep is complete", "declined, held, or something failed")

_LINES: Final = 20
"""Shown of each decision, so that a thousand ghosts do not hide what is rare."""

_STEP: Final = 10_000

_TO_CLOSE: Final = ("close", "hand over")
_STYLES: Final = {
    "close": "yellow",
    "closed": "yellow",
    "hand over": "yellow",
    "handed over": "yellow",
    "failed": "red",
    "unreadable": "red",
}


def sweep(  # noqa: PLR0913 - the command's options
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, and to whom.")
    ] = False,
    max_closes: Annotated[
        int | None,
        typer.Option(
            "--max-closes",
            metavar="N",
            help="Close at most this many, 1 to 1,000,000.",
            show_default=False,
            parser=whole_number(1, 1_000_000),
        ),
    ] = None,
    override_guard: Annotated[
        bool,
        typer.Option(
            "--override-guard",
            help="Ask API Gateway about nothing: close what is idle on record.",
        ),
    ] = False,
    yes: Yes = False,
    config: Config = None,
    settings: Settings = None,
    function: Function = None,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    all_lines: AllLines = False,
    as_json: AsJson = False,
) -> int:
    """Sweep the table once, from here: see who is idle, or close them.

    With --dry-run it lists who would be closed, left, ignored or unreadable,
    and why. It writes nothing and closes nobody. Without, it shows the same
    and asks before it closes. It is the code of the deployed function, run
    with your AWS credentials; the metrics do not count it.
    """
    where = Where(function=function, profile=profile, region=region, endpoint_url=endpoint_url)
    if function is None:
        deployment = described(config, settings)
        where = where.of(deployment)
        find = partial(environment_by_file, deployment, needs_state=not dry_run)
    elif config is not None or settings:
        raise typer.BadParameter("it excludes --config and --set", param_hint="'--function'")
    else:
        find = partial(environment_by_function, function)
    most = None if all_lines else _LINES
    with where.account():
        with interrupted_means("nobody is closed; run it again"):
            environment = find()
            table = environment["CONNECTIONS_TABLE"]
            size = table_size(table)
            run = partial(
                sweep_once,
                environment,
                override_guard=override_guard,
                read=_Progress(size.items).read,
            )
            if not (yes or as_json or may_read(table, size, yes=False)):
                return 1
            with waiting(f"Reading the table {table}"):
                swept = run(acts=False)
            count = 0 if dry_run else _to_be_closed(swept, max_closes)
            if count and not as_json:
                _say_verdicts(swept.verdicts, most=most)
            if count and not agreed(f"Close {count:,} connections?", yes=yes):
                return 1
        if count:
            with interrupted_means("some may be closed; run it again to go on"), waiting("Closing"):
                swept = run(acts=True, most=max_closes)
    if as_json:
        say_json(
            {
                "connections": [one.as_json() for one in swept.verdicts],
                "counts": None if swept.report is None else swept.report.as_json(),
                "failure": swept.problem,
            }
        )
    else:
        _say_verdicts(swept.verdicts, most=most)
        _say_result(swept)
    return 1 if swept.problem else 0


class _Progress:
    """Says how far the read of a table is, at each part of it that takes a while."""

    def __init__(self, items: int) -> None:
        self._items = items
        self._step = max(_STEP, items // 20)
        self._next = self._step

    def read(self, records: int) -> None:
        """Say it where another part is read."""
        if records >= self._next:
            self._next = records + self._step
            say_progress(f"{records:,} of about {self._items:,} records read")


def _to_be_closed(swept: Swept, most: int | None) -> int:
    """Return how many there are to close; none where the dry run failed."""
    count = 0 if swept.failure else sum(one.decision in _TO_CLOSE for one in swept.verdicts)
    return count if most is None else min(count, most)


def _say_verdicts(verdicts: Sequence[Verdict], *, most: int | None) -> None:
    shown: Counter[str] = Counter()
    for one in verdicts:
        shown[one.decision] += 1
        if most is None or shown[one.decision] <= most:
            _say_verdict(one)
    for decision, count in shown.items():
        say_rest(decision, count, most)


def _say_verdict(one: Verdict) -> None:
    silent = "" if one.idle_ms is None else f"silent for {one.idle_ms // 1000:,} s"
    say(
        (f"{one.decision:<12}", _STYLES.get(one.decision, "")),
        (f"{one.connection_id:<18}", "bold"),
        f"  {silent}{f'  {one.role}' if one.role else ''}",
    )
    say_wrapped(" " * 12, one.error or one.why, style="dim")


def _say_result(swept: Swept) -> None:
    decisions = Counter(one.decision for one in swept.verdicts)
    checked = "" if swept.report is None else f"{swept.report.checked:,} records checked: "
    counts = ", ".join(f"{count:,} {decision}" for decision, count in sorted(decisions.items()))
    say((f"{checked}{counts or 'nobody is idle'}.", "bold"))
    if swept.problem:
        say_aside(swept.problem)
