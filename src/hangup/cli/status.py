"""``hangup status``."""

from collections.abc import Mapping, Sequence
from typing import Final

from hangup.aws.cloudwatch import Alarm
from hangup.aws.deployment import DeployedTimeout
from hangup.aws.runtime import clock
from hangup.cli.deployments import (
    Config,
    EndpointUrl,
    Function,
    Local,
    Profile,
    Region,
    Settings,
    Stack,
    Where,
    timeout_of,
)
from hangup.cli.options import AllLines, AsJson, Yes
from hangup.cli.output import (
    UNCHANGED,
    interrupted_means,
    say,
    say_json,
    say_progress,
    say_rest,
    waiting,
)
from hangup.cli.questions import may_read
from hangup.cli.tables import Column, say_table
from hangup.core.guard import Activity
from hangup.ops.log_tail import at_clock
from hangup.ops.looking import alarms_of, metrics_of, records_of
from hangup.ops.next_sweep import in_words
from hangup.ops.status import Crowd, Minute, crowd_of, last_sweeps

EXAMPLES: Final = (
    "hangup status",
    "hangup status --stack My-Hangup --all",
    "hangup status --local",
)
STATUS: Final = ("no alarm is on", "an alarm is on, or it failed")

_LINES: Final = 10
"""Of what is due, of roles, and of sweeps."""
_ON: Final = "ALARM"
_BAR: Final = 30
_GATEWAY_DECIDES: Final = (
    "Nobody records activity here: who looks idle is kept if API Gateway saw it active."
)


def status(  # noqa: PLR0913 - the command's options
    *,
    yes: Yes = False,
    config: Config = None,
    settings: Settings = None,
    stack: Stack = None,
    function: Function = None,
    local: Local = False,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    all_lines: AllLines = False,
    as_json: AsJson = False,
) -> int:
    """Show how a deployment is.

    These are its connections by role, how long they have been silent, which
    of them are due, the last sweeps, and the alarms. It reads the whole table
    once, and asks before it reads a large one. It writes nothing. API Gateway
    is not asked: `hangup explain ID` does that for one connection.
    """
    where = Where(
        stack=stack,
        function=function,
        local=local,
        profile=profile,
        region=region,
        endpoint_url=endpoint_url,
    )
    with (
        interrupted_means(UNCHANGED),
        timeout_of(where, config=config, settings=settings) as found,
    ):
        with waiting("Asking CloudWatch"):
            alarms = alarms_of(found)
            sweeps = last_sweeps(metrics_of(found), now_ms=clock.now_ms())
        records = records_of(found)
        with waiting("Looking at the table"):
            size = records.size()
        if not may_read(found.settings.connections_table, size, yes=yes):
            return 1
        with waiting("Reading the table"):
            crowd = crowd_of(
                records.pages(),
                found.settings.policy,
                now_ms=clock.now_ms(),
                most=None if all_lines or as_json else _LINES,
                progress=_Progress().tell,
            )
    if as_json:
        say_json(_as_json(found, crowd, sweeps, alarms))
    else:
        most = None if all_lines else _LINES
        _say_timeout(found)
        _say_crowd(crowd, most=most)
        _say_sweeps(sweeps[:most])
        _say_alarms(alarms)
    return 1 if any(one.state == _ON for one in alarms) else 0


class _Progress:
    """Tells how far a long read is: pages have up to a megabyte each."""

    _EVERY = 20

    def __init__(self) -> None:
        self._pages = 0

    def tell(self, words: str) -> None:
        """Hear of a page."""
        self._pages += 1
        if self._pages % self._EVERY == 0:
            say_progress(words)


def _say_timeout(found: DeployedTimeout) -> None:
    settings = found.settings
    timeouts = [f"idle timeout {settings.policy.idle_timeout_ms // 1000} s"]
    timeouts += [f"{role} {ms // 1000} s" for role, ms in settings.policy.by_role.items()]
    mode = "closes idle connections" if settings.acts else "observes, and closes nobody"
    say((found.name, "bold"), f": {mode}; {', '.join(timeouts)}.")
    if settings.activity is Activity.GATEWAY:
        say(_GATEWAY_DECIDES)
    say()


def _say_crowd(crowd: Crowd, *, most: int | None) -> None:
    say_table(
        f"Connections on record: {crowd.connections:,}",
        (Column("role"), Column("connections", is_number=True)),
        [(role, f"{count:,}") for role, count in crowd.by_role.most_common(most)],
    )
    if not crowd.connections:
        say("No connections on record.")
    say_rest("roles", len(crowd.by_role), most)
    largest = max((count for _, count in crowd.histogram), default=0)
    say_table(
        "Silent for",
        (Column("less than"), Column("connections", is_number=True), Column("")),
        [
            (_edge(edge_s), f"{count:,}", "#" * -(-count * _BAR // max(largest, 1)))
            for edge_s, count in crowd.histogram
        ],
    )
    _say_due(crowd)
    for count, what in (
        (crowd.without_time, "Connections without a time on record"),
        (crowd.unreadable, "Connections whose time cannot be read, which stay open"),
        (crowd.others, "Items that are not connections of this deployment"),
    ):
        if count:
            say(f"{what}: ", (f"{count:,}", "yellow"))


def _say_sweeps(sweeps: Sequence[Minute]) -> None:
    say_table(
        "Last sweeps, by the minute",
        (
            Column("at"),
            *(Column(one, is_number=True) for one in ("checked", "idle", "closed", "failures")),
            Column("held"),
        ),
        [
            (
                at_clock(one.at_ms),
                *(f"{count:,}" for count in (one.checked, one.idle, one.closed, one.failures)),
                "held" if one.held else "not complete" if one.incomplete else "",
            )
            for one in sweeps
        ],
    )
    if not sweeps:
        say(("No sweep has reported in the last 15 minutes.", "yellow"))


def _say_due(crowd: Crowd) -> None:
    say_table(
        f"Idle on record: {crowd.overdue:,}, and {crowd.due_soon:,} more within a minute",
        (Column("connection"), Column("role"), Column("idle")),
        [
            (one.connection_id, one.role or "", _when(one.deadline_ms - crowd.now_ms))
            for one in crowd.due
        ],
    )
    if crowd.due:
        say_rest("connections", crowd.overdue + crowd.due_soon, len(crowd.due))
    elif crowd.connections:
        say("Nobody is idle on record, or will be within a minute.")


def _say_alarms(alarms: Sequence[Alarm]) -> None:
    on = [one for one in alarms if one.state == _ON]
    for one in on:
        say((f"Alarm {one.name}:", "bold red"), f" {one.about or one.reason}")
    unknown = sum(one.state == "INSUFFICIENT_DATA" for one in alarms)
    if not alarms:
        say("It has no alarms.")
    elif not on:
        beside = f" ({unknown} without data yet)" if unknown else ""
        say((f"No alarm is on, of {len(alarms)}{beside}.", "bold green"))


def _edge(edge_s: int | None) -> str:
    if edge_s is None:
        return "longer"
    for unit_s, unit in ((3_600, "h"), (60, "min")):
        if edge_s >= unit_s:
            return f"{edge_s // unit_s} {unit}"
    return f"{edge_s} s"


def _when(until_ms: int) -> str:
    return f"in {in_words(until_ms)}" if until_ms >= 0 else f"since {in_words(-until_ms)}"


def _as_json(
    found: DeployedTimeout, crowd: Crowd, sweeps: Sequence[Minute], alarms: Sequence[Alarm]
) -> Mapping[str, object]:
    settings = found.settings
    return {
        "stack": found.stack_name,
        "function": found.function_name,
        "mode": "close" if settings.acts else "observe",
        "activity": str(settings.activity),
        "idleTimeoutSeconds": settings.policy.idle_timeout_ms // 1000,
        "idleTimeoutsByRole": {
            role: duration_ms // 1000 for role, duration_ms in settings.policy.by_role.items()
        },
        "at": crowd.now_ms,
        "connections": crowd.connections,
        "byRole": dict(crowd.by_role.most_common()),
        "silent": [
            {"lessThanSeconds": edge_s, "connections": count} for edge_s, count in crowd.histogram
        ],
        "idle": crowd.overdue,
        "idleSoon": crowd.due_soon,
        "due": [
            {"connectionId": one.connection_id, "role": one.role, "deadline": one.deadline_ms}
            for one in crowd.due
        ],
        "withoutTime": crowd.without_time,
        "unreadable": crowd.unreadable,
        "otherItems": crowd.others,
        "sweeps": [
            {
                "at": one.at_ms,
                "checked": one.checked,
                "idle": one.idle,
                "closed": one.closed,
                "closeFailures": one.failures,
                "held": one.held,
                "incomplete": one.incomplete,
            }
            for one in sweeps
        ],
        "alarms": [{"name": one.name, "state": one.state, "reason": one.reason} for one in alarms],
    }
