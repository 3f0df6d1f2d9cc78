"""The checks of the table against what the file says of it, by a page of its items."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from hangup.aws.schema import TableSchema, schema_of
from hangup.aws.times import TimeUnit
from hangup.config import CONNECTION_IDLE_TIMEOUT_SECONDS, TABLE_SCHEMA
from hangup.core.connection import Connection, ConnectionInfo, NoConnection, RecordedTime
from hangup.core.guard import LastActiveCounts, control_group
from hangup.core.policy import Unreadable, decide, looks_like
from hangup.errors import ConfigurationError
from hangup.ops.doctor_account import misled
from hangup.ops.doctor_case import MOST_ITEMS, Case, Finding, found, hangup, setting, well
from hangup.ops.evidence import how_many
from hangup.ops.inferred_times import CONNECTED_AT, LAST_ACTIVITY, time_setting
from hangup.ops.toml_text import in_toml

_ASKED: Final = 10
"""Connections that API Gateway is asked about, of those that are idle and of those that are not."""

_FEW: Final = 3
"""Fewer that have left say nothing: each may have just left."""

_LAG_MS: Final = 5_000
"""How much later than the record API Gateway may have the same activity (see ``core.guard``)."""

_TIMES: Final = {
    RecordedTime.CONNECTED_AT: (CONNECTED_AT, "connected_at"),
    RecordedTime.LAST_ACTIVITY: (LAST_ACTIVITY, "last_activity"),
    RecordedTime.GATEWAY_ACTIVE: ("table.names.gateway_active", "gateway_active"),
}
_UNITS: Final = {
    "seconds": TimeUnit.SECONDS,
    "milliseconds": TimeUnit.MILLISECONDS,
    "ISO 8601 text": TimeUnit.ISO8601,
}


def table(case: Case) -> Sequence[Finding]:
    """Check that the table is there, and that its key and index are what the file says."""
    name, schema = case["table.name"], case.deployment.table_schema
    if case.table is None:
        return [found("no-table", f"{case.region} has no table {name}", fix=_anew(case))]
    key = list(case.table.key)
    if key != schema.table_key.attributes:
        parts = [{"attribute": one, "type": kind} for one, kind in key]
        return [
            found(
                "other-key",
                f"the key of {name} is {_key_in_words(key)}, and the file says"
                f" {_key_in_words(schema.table_key.attributes)}",
                fix=setting("table.key", in_toml(parts)),
            )
        ]
    if schema.index is not None and schema.index not in case.table.indexes:
        indexes = ", ".join(case.table.indexes) or "none"
        cause = f"the file says {schema.index}; indexes of {name} that project all: {indexes}"
        return [found("no-index", cause, fix=_anew(case))]
    return [well("no-table", f"The table {name} has the key {_key_in_words(key)}")]


def _anew(case: Case) -> str:
    """Return the command that writes the file again."""
    return hangup("init", "--api", case["api.id"], "--force")


def _key_in_words(key: Sequence[tuple[str, str]]) -> str:
    return " and ".join(f"{name} ({kind})" for name, kind in key)


def encryption(case: Case) -> Sequence[Finding]:
    """Check that the functions may use the key that encrypts the table."""
    if case.table is None or case.table.kms_key is None:
        return []
    arn, said = case.table.kms_key, case["table.kms_key"]
    is_customers, state = case.inspection.kms_key(arn)
    if state != "Enabled":
        again = "cancel-key-deletion" if state == "PendingDeletion" else "enable-key"
        fix = f"aws kms {again} --key-id {arn}"
        return [found("kms-key-off", f"the key {arn} is {state}", fix=fix)]
    if is_customers and said != arn:
        cause = f"{arn} encrypts {case.table.name}, and the file names {said or 'none'}"
        return [found("no-kms-key", cause, fix=setting("table.kms_key", arn))]
    return [well("no-kms-key", f"The key of {case.table.name} is enabled, and known to the file")]


def items(case: Case) -> Iterable[Finding]:
    """Check that items are connections, and that their times can be read."""
    schema = case.deployment.table_schema
    if case.table is None or list(case.table.key) != schema.table_key.attributes:
        return []
    if not case.items:
        return [well("items", f"The table {case.table.name} has no items yet")]
    count, connections = len(case.items), case.connections
    if connections:
        said = f"{how_many(len(connections), count)} items are connections"
        return [well("items", said), *_unreadable(case, connections)]
    if any(map(schema.names_id, case.items)):
        cause = f"{count} items were read; is nobody of this deployment connected?"
    elif count >= MOST_ITEMS:
        cause = f"{count:,} items were read, and there may be others"
    else:
        prefix = f" that begins with {schema.id_prefix}" if schema.id_prefix else ""
        cause = f"0 of {count} items that were read have a text {schema.connection_id}{prefix}"
        return [found("no-connections", cause, fix=_anew(case))]
    return [found("none-selected", cause, fix=_anew(case))]


def _unreadable(case: Case, connections: Sequence[Connection]) -> Iterator[Finding]:
    now_ms, schema = case.clock.now_ms(), case.deployment.table_schema
    times = [
        decision.time
        for one in connections
        if isinstance(decision := decide(one, case.policy, now_ms), Unreadable)
    ]
    for time, count in Counter(one.time for one in times).items():
        setting_key, field = _TIMES[time]
        attribute = schema.time_attribute(time)
        value = next(one.value for one in times if one.time is time)
        guess = looks_like(value)
        unit = _UNITS.get(guess)
        fix = _anew(case)
        # Where most are well, who writes the others is wrong, and not the file.
        is_most = 2 * count > len(connections)
        if is_most and unit is not None and unit is not getattr(schema, f"{field}_unit", unit):
            offset_s = getattr(schema, f"{field}_offset_s")
            fix = setting(setting_key, in_toml(time_setting(attribute.name, unit, offset_s)))
        yield found(
            "unreadable-times",
            f"{attribute.name} must be {attribute.written_as}; in"
            f" {how_many(count, len(connections))} records it is not: {value} looks like {guess}",
            fix=fix,
        )
    if not times:
        yield well("unreadable-times", "Their times can be read")


def activity(case: Case) -> Iterator[Finding]:
    """Check with API Gateway that these are its connections, and their activity is recorded."""
    connections = case.connections
    if not (connections and case.is_on_web_socket_api and case.nobody is NoConnection.GONE):
        return
    if misled(case) is not None:
        return
    gateway = case.account.connections_at(case.endpoint)
    present = control_group(connections, case.policy, case.clock.now_ms())[:_ASKED]
    idle = [one for one in connections if one not in present and one.last_seen_ms is not None]
    answers = [
        (one, gateway.get_connection(one.connection_id)) for one in (*present, *idle[:_ASKED])
    ]
    known = [(one, info) for one, info in answers if isinstance(info, ConnectionInfo)]
    gone = [answer for _, answer in answers[: len(present)] if answer is NoConnection.GONE]
    if len(present) >= _FEW and 2 * len(gone) > len(present):
        yield found(
            "other-connections",
            f"{how_many(len(gone), len(present))} connections that should be there are not known"
            f" at {case.endpoint}: the table is another stage's, or holds ghosts",
            fix=_anew(case),
        )
        return
    if known:
        yield well(
            "other-connections", f"API Gateway knows {how_many(len(known), len(answers))} of them"
        )
    if case["timeout.activity"] == "gateway":
        return
    moved = [one for one in connections if one.has_recorded_activity]
    missed = [
        one
        for one, info in known
        if one.recorded_ms is not None and info.last_active_ms > one.recorded_ms + _LAG_MS
    ]
    counts = case.last_active_counts
    if missed and not (moved and counts == LastActiveCounts.BOTH):
        # They stay open all the same: a sweep asks API Gateway as well.
        unsettled = "; or these are messages to the clients: `hangup doctor --probe` settles it"
        yield found(
            "not-recorded",
            f"API Gateway saw {how_many(len(missed), len(known))} clients later than their records"
            f" say; {how_many(len(moved), len(connections))} records have an activity at all"
            f"{'' if counts == LastActiveCounts.CLIENT else unsettled}",
            fix=setting("timeout.activity", "gateway"),
        )
    elif moved:
        yield well(
            "not-recorded",
            f"{how_many(len(moved), len(connections))} records have an activity after the connect",
        )


def conflicts(case: Case) -> Sequence[Finding]:
    """Check that no other timeout is on the same table."""
    own = {one.name for one in case.functions}
    name, schema = case["table.name"], case.deployment.table_schema
    others = [
        one
        for one in case.inspection.functions()
        if one.variables.get("CONNECTIONS_TABLE") == name
        and CONNECTION_IDLE_TIMEOUT_SECONDS.name in one.variables
        and one.name not in own
        and case.inspection.reserved(one.name) != 0
        and not _are_apart(schema, one.variables.get(TABLE_SCHEMA.name))
    ]
    return [
        found(
            "second-timeout",
            f"{one.name} also closes the connections in {name}; tell them apart by table.only, or"
            " stop one of the two",
            fix=f"aws lambda put-function-concurrency --function-name {one.name}"
            " --reserved-concurrent-executions 0",
        )
        for one in others
    ] or [well("second-timeout", f"No other timeout is on the table {name}")]


def _are_apart(schema: TableSchema, other: str | None) -> bool:
    try:
        return schema.selection.excludes(schema_of(other or None).selection)
    except ConfigurationError:
        return False
