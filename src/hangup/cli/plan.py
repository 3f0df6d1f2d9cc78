"""``hangup plan``."""

from dataclasses import asdict, fields
from typing import Annotated, Any, Final

import typer

from hangup.cli.options import AsJson, decimal_number, whole_number
from hangup.cli.output import say, say_json, waiting
from hangup.core.guard import Activity
from hangup.core.limits import MAX_CONNECTION_S
from hangup.core.texts import Unfit
from hangup.errors import ConfigurationError
from hangup.planner.assumptions import MAX_CONNECTIONS, MAX_RECORD_BYTES
from hangup.planner.fleet import Fleet, FleetContradiction, RoleTimeout
from hangup.planner.plan import as_text, make_plan
from hangup.planner.prices import list_prices
from hangup.variables import SecondsByRole

EXAMPLES: Final = (
    "hangup plan --connections 1000000",
    "hangup plan --connections 50000 --heartbeat 20 --idle-share 0.02",
    "hangup plan --connections 1000000 --activity gateway",
    "hangup plan --timeouts-by-role speaker=300:0.1,listener=60:0.9",
    "hangup plan --connections 1000000 --json",
)
STATUS: Final = ("the plan is printed", "the values contradict each other")

_FLEET: Final = "The fleet"
_SETTINGS: Final = "How it is swept"
_DEFAULT: Final[dict[str, Any]] = {field.name: field.default for field in fields(Fleet)}


def _by_role(value: object) -> dict[str, RoleTimeout]:
    """Return the timeouts that ``speaker=300:0.1,listener=60:0.9`` says."""
    pairs, shares = [], []
    for part in str(value).split(","):
        pair, _, share = part.partition(":")
        pairs.append(pair)
        shares.append(decimal_number(0, 1)(share))
    try:
        seconds = SecondsByRole().parse(",".join(pairs))
    except ValueError as error:
        why = error if isinstance(error, Unfit) else f"{value!r} is not ROLE=SECONDS:SHARE,..."
        raise typer.BadParameter(str(why)) from None
    return {
        role: RoleTimeout(idle_timeout_s=seconds[role], share=share)
        for role, share in zip(seconds, shares, strict=True)
    }


def plan(  # noqa: PLR0913 - the command's options
    *,
    connections: Annotated[
        int,
        typer.Option(
            "--connections",
            metavar="N",
            parser=whole_number(1, MAX_CONNECTIONS),
            help="Open at any time.",
            rich_help_panel=_FLEET,
        ),
    ] = _DEFAULT["connections"],
    heartbeat_s: Annotated[
        float,
        typer.Option(
            "--heartbeat",
            metavar="SECONDS",
            parser=decimal_number(0.1, MAX_CONNECTION_S),
            help="Between two messages of a client; shorter than the idle timeout.",
            rich_help_panel=_FLEET,
        ),
    ] = _DEFAULT["heartbeat_s"],
    lifetime_s: Annotated[
        int,
        typer.Option(
            "--lifetime",
            metavar="SECONDS",
            parser=whole_number(1, MAX_CONNECTION_S),
            help="How long a connection lasts on average.",
            rich_help_panel=_FLEET,
        ),
    ] = _DEFAULT["lifetime_s"],
    idle_share: Annotated[
        float,
        typer.Option(
            "--idle-share",
            metavar="SHARE",
            parser=decimal_number(0, 1),
            help="Share of the connections that end by falling silent; the others leave by"
            " themselves.",
            rich_help_panel=_FLEET,
        ),
    ] = _DEFAULT["idle_share"],
    record_bytes: Annotated[
        int,
        typer.Option(
            "--record-bytes",
            metavar="N",
            parser=whole_number(1, MAX_RECORD_BYTES),
            help="Size of a connection's record.",
            rich_help_panel=_FLEET,
        ),
    ] = _DEFAULT["record_bytes"],
    idle_timeout_s: Annotated[
        int,
        typer.Option(
            "--idle-timeout",
            metavar="SECONDS",
            parser=whole_number(1, MAX_CONNECTION_S),
            help="As CONNECTION_IDLE_TIMEOUT_SECONDS.",
            rich_help_panel=_SETTINGS,
        ),
    ] = _DEFAULT["idle_timeout_s"],
    timeouts_by_role: Annotated[
        dict[str, RoleTimeout] | None,
        typer.Option(
            "--timeouts-by-role",
            metavar="ROLE=SECONDS:SHARE,...",
            parser=_by_role,
            help="Roles with a timeout of their own, and the share of the connections with each, as"
            " in speaker=300:0.1,listener=60:0.6.",
            rich_help_panel=_SETTINGS,
        ),
    ] = None,
    sweep_interval_s: Annotated[
        int,
        typer.Option(
            "--sweep-interval",
            metavar="SECONDS",
            parser=whole_number(60, MAX_CONNECTION_S, step=60),
            help="Whole minutes, as in an EventBridge rate().",
            rich_help_panel=_SETTINGS,
        ),
    ] = _DEFAULT["sweep_interval_s"],
    activity_resolution_s: Annotated[
        int,
        typer.Option(
            "--activity-resolution",
            metavar="SECONDS",
            parser=whole_number(0, MAX_CONNECTION_S),
            help="As ACTIVITY_RESOLUTION_SECONDS.",
            rich_help_panel=_SETTINGS,
        ),
    ] = _DEFAULT["activity_resolution_s"],
    closes_per_second: Annotated[
        int,
        typer.Option(
            "--closes-per-second",
            metavar="N",
            parser=whole_number(0, 1000),
            help="As CLOSES_PER_SECOND; 0 is no limit.",
            rich_help_panel=_SETTINGS,
        ),
    ] = _DEFAULT["closes_per_second"],
    precise: Annotated[
        bool,
        typer.Option(
            "--precise",
            help="Plan for precise=True: sweeps queue connections, close functions close them.",
            rich_help_panel=_SETTINGS,
        ),
    ] = False,
    activity: Annotated[
        Activity,
        typer.Option(
            "--activity",
            help="As ACTIVITY: with gateway nobody records it, and heartbeats run no function.",
            rich_help_panel=_SETTINGS,
        ),
    ] = Activity.RECORDED,
    as_json: AsJson = False,
) -> int:
    """Show what a fleet of WebSocket connections costs a month.

    It also shows how long a sweep takes, how late closes are in both
    topologies, and which AWS quota is met first. It calls nobody and needs no
    credentials: everything follows from the options, the list prices, and the
    assumptions in docs/explanation/planning.md.
    """
    with waiting("Working out the plan"):
        try:
            fleet = Fleet(
                connections=connections,
                heartbeat_s=heartbeat_s,
                lifetime_s=lifetime_s,
                idle_share=idle_share,
                record_bytes=record_bytes,
                idle_timeout_s=idle_timeout_s,
                sweep_interval_s=sweep_interval_s,
                activity_resolution_s=activity_resolution_s,
                closes_per_second=closes_per_second,
                precise=precise,
                activity=activity,
                timeouts_by_role=timeouts_by_role or {},
            )
        except FleetContradiction as error:
            # An option is named like its field, without the unit.
            names = [one.removesuffix("_s").replace("_", "-") for one in error.fields]
            options = " and ".join(f"--{name}" for name in names)
            raise ConfigurationError(f"{options}: {error}") from error
        made = make_plan(fleet, list_prices())
    if as_json:
        say_json(asdict(made))
    else:
        for line in as_text(made).splitlines():
            say((line, _style(line)))
    return 0


def _style(line: str) -> str:
    first = line.partition(" ")[0]
    if first.strip(",").isupper() and len(first) > 1:
        return "bold"
    return "bold green" if first == "Take" else ""
