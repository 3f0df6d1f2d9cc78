"""``hangup explain``."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import typer

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
from hangup.cli.options import AllLines, AsJson, Yes, whole_number
from hangup.cli.output import UNCHANGED, interrupted_means, printable, say, say_json, waiting
from hangup.cli.questions import may_read
from hangup.core.connection import Connection, EpochMs
from hangup.idle.guard import Answer
from hangup.ops.explain import ExplainedRecord, Explanation
from hangup.ops.looking import explained, records_of
from hangup.ops.next_sweep import at_utc

EXAMPLES: Final = ("hangup explain Lk9q2cR9oAMCJtA=", "hangup explain --local ebd4d0ebbed0442a")
STATUS: Final = ("it is explained", "nobody knows the connection, or it failed")

_LINES: Final = 20
"""Of the history, the latest."""
_MAX_ID: Final = 1_024
_MAX_HOURS: Final = 168


def _connection_id(text: str) -> str:
    if not (text.isprintable() and 0 < len(text) <= _MAX_ID):
        raise typer.BadParameter(f"it must have 1 to {_MAX_ID:,} characters that can be printed")
    return text


def explain(  # noqa: PLR0913 - the command's options
    *,
    connection_id: Annotated[
        str, typer.Argument(metavar="ID", show_default=False, parser=_connection_id)
    ],
    hours: Annotated[
        int,
        typer.Option(
            "--hours",
            metavar="N",
            parser=whole_number(1, _MAX_HOURS),
            help="How far back the logs are read. A connection lives for two hours at most.",
        ),
    ] = 3,
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
    """Explain what happens to one connection, and why.

    It shows the record, what API Gateway says of the connection, what the
    next sweep would do, and what the functions' logs say. It writes nothing.
    Where the table's key does not follow from the id, it reads the whole
    table, and asks before it reads a large one.
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
        if not _may_read(found, yes=yes):
            return 1
        with waiting(f"Looking for {connection_id}"):
            since_ms = EpochMs(clock.now_ms() - hours * 3_600_000)
            explanation = explained(found, connection_id, since_ms=since_ms)
    if as_json:
        say_json(_as_json(explanation))
    else:
        _say(explanation, hours=hours, most=None if all_lines else _LINES)
    return 0 if explanation.is_known else 1


def _may_read(found: DeployedTimeout, *, yes: bool) -> bool:
    records = records_of(found)
    return records.finds_by_id or may_read(
        found.settings.connections_table, records.size(), yes=yes
    )


def _say(explanation: Explanation, *, hours: int, most: int | None) -> None:
    if not explanation.records:
        say((explanation.verdict, "bold"))
    for one in explanation.records:
        sweep = one.next_sweep
        say((f"The next sweep {sweep.fate}:", "bold"), f" {printable(sweep.why)}.")
    for one in explanation.records:
        say()
        say(("On record", "bold"))
        for name, value in _record_in_words(one):
            say(f"  {name:<14} {printable(value)}")
    say()
    say(("By API Gateway's account", "bold"))
    for name, value in _account_in_words(explanation.account):
        say(f"  {name:<14} {printable(value)}")
    say()
    history = explanation.history if most is None else explanation.history[-most:]
    if not history:
        say(f"The logs of the last {hours} h say nothing of it.")
        return
    say((f"In the logs of the last {hours} h", "bold"))
    for line in history:
        say(f"  {at_utc(EpochMs(line.at_ms))}  {line.words}")
        if line.correlation_id is not None:
            say((f"{'':<24}correlation id {line.correlation_id}", "dim"))
    if len(history) < len(explanation.history):
        say(f"  ... and {len(explanation.history) - len(history):,} earlier lines; --all lists all")


def _record_in_words(one: ExplainedRecord) -> Sequence[tuple[str, str]]:
    connection = one.connection
    values = (
        *((part.name, part.value) for part in connection.key),
        ("session", connection.session_id),
        ("role", connection.role),
        ("connected", _time(connection.connected_at_ms)),
        ("last activity", _time(connection.last_activity_ms)),
        ("API Gateway", _time(connection.gateway_active_ms, before="active ")),
        *((str(time.value), f"cannot be read: {value}") for time, value in connection.malformed),
        ("notice sent", _time(connection.noticed_at_ms)),
        ("handed over", f"{connection.handovers} times" if connection.handovers else None),
        ("deadline", _time(one.next_sweep.deadline_ms)),
    )
    return [(name, value) for name, value in values if value is not None]


def _account_in_words(account: Answer) -> Sequence[tuple[str, str]]:
    info = account.info
    if info is None:
        why = f"no answer: {account.error}" if account.error else account.seen.value
        return [("connection", why)]
    values = (
        ("connected", _time(info.connected_at_ms)),
        ("last active", _time(info.last_active_ms)),
        ("from", info.source_ip),
        ("user agent", info.user_agent),
    )
    return [(name, value) for name, value in values if value]


def _time(at_ms: EpochMs | None, *, before: str = "") -> str | None:
    return None if at_ms is None else f"{before}{at_utc(at_ms)}"


def _as_json(explanation: Explanation) -> Mapping[str, object]:
    account = explanation.account
    info = account.info
    return {
        "connectionId": explanation.connection_id,
        "isKnown": explanation.is_known,
        "records": [
            {
                **_record_as_json(one.connection),
                "nextSweep": {
                    "does": one.next_sweep.fate.name.lower(),
                    "why": one.next_sweep.why,
                    "deadline": one.next_sweep.deadline_ms,
                },
            }
            for one in explanation.records
        ],
        "account": {
            "seen": account.seen.name.lower(),
            "connectedAt": info and info.connected_at_ms,
            "lastActiveAt": info and info.last_active_ms,
            "sourceIp": info and info.source_ip,
            "userAgent": info and info.user_agent,
            "error": None if account.error is None else str(account.error),
        },
        "history": [
            {"at": line.at_ms, "line": line.words, "correlationId": line.correlation_id}
            for line in explanation.history
        ],
    }


def _record_as_json(connection: Connection) -> Mapping[str, object]:
    return {
        "key": {part.name: part.value for part in connection.key},
        "sessionId": connection.session_id,
        "role": connection.role,
        "connectedAt": connection.connected_at_ms,
        "lastActivityTime": connection.last_activity_ms,
        "gatewayActiveAt": connection.gateway_active_ms,
        "malformed": [{"time": time.value, "value": value} for time, value in connection.malformed],
        "noticedAt": connection.noticed_at_ms,
        "handovers": connection.handovers,
    }
