"""Strategies for the items of a connections table: any value of any type for each attribute."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st

from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.times import TimeUnit
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.limits import (
    MAX_CLOCK_LEAD_MS,
    MAX_CONNECTION_ID_LENGTH,
    MAX_PLAUSIBLE_EPOCH_MS,
    MIN_PLAUSIBLE_EPOCH_MS,
)
from hangup.core.policy import IdlePolicy, Keep, Unreadable, decide
from hangup.ports import ConnectionsRepository
from tests.support.schemas import Item, attributes_of, item_of

__all__ = ["ANY_POLICY", "NOW_MS", "assert_finds_what_is_not_to_be_kept", "key_in", "many_items"]

NOW_MS: Final = EpochMs(1_700_000_000_000)
_TIMEOUT_MS: Final = 120_000
_BY_ROLE: Final = {"speaker": 300_000, "listener": 60_000}

ANY_POLICY: Final = st.builds(
    IdlePolicy,
    idle_timeout_ms=st.just(DurationMs(_TIMEOUT_MS)),
    activity_resolution_ms=st.sampled_from([DurationMs(0), DurationMs(10_000)]),
    by_role=st.sampled_from([{}, {role: DurationMs(ms) for role, ms in _BY_ROLE.items()}]),
)
"""The timeouts that the times of the items are around."""

_BOUNDS: Final = st.builds(
    lambda bound, off: bound + off,
    st.sampled_from(
        [
            NOW_MS,
            NOW_MS - _TIMEOUT_MS,
            *(NOW_MS - ms for ms in _BY_ROLE.values()),
            NOW_MS + MAX_CLOCK_LEAD_MS,
            MIN_PLAUSIBLE_EPOCH_MS,
            MAX_PLAUSIBLE_EPOCH_MS,
        ]
    ).map(Decimal),
    st.sampled_from(["-10000", "-1", "-0.5", "0", "0.000000001", "0.5", "1", "10000"]).map(Decimal),
)
_IN_UNITS: Final = st.builds(
    lambda time, shift: time.scaleb(shift),
    _BOUNDS,
    st.sampled_from([-3, 0, 0, 3, 6]),  # seconds, milliseconds, microseconds, nanoseconds
)
_NEAR: Final = st.integers(-4 * _TIMEOUT_MS, _TIMEOUT_MS).map(lambda ms: Decimal(NOW_MS + ms))
# As many digits, and as large and as small, as DynamoDB stores.
_SIZES: Final = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent),
    st.integers(-(10**28) + 1, 10**28 - 1),
    st.integers(-130, 97),
)
_NUMBERS: Final = _BOUNDS | _IN_UNITS | _NEAR | _SIZES
_TEXTS: Final = st.text(st.characters(codec="utf-8"), max_size=20)
_ANY_VALUE: Final = st.one_of(
    st.builds(lambda number: {"N": str(number)}, _NUMBERS),
    st.builds(lambda text: {"S": text}, _TEXTS | _NUMBERS.map(str)),
    st.builds(lambda truth: {"BOOL": truth}, st.booleans()),
    st.just({"NULL": True}),
    st.builds(lambda number: {"L": [{"N": str(number)}]}, _NEAR),
    st.builds(lambda number: {"M": {"N": {"N": str(number)}}}, _NEAR),
    st.builds(lambda number: {"NS": [str(number)]}, _NEAR),
    st.builds(lambda text: {"SS": [text or "x"]}, _TEXTS),
    st.builds(lambda number: {"B": str(number).encode()}, _NEAR),
)
_TIME: Final = st.sampled_from([_NEAR, _NEAR, _BOUNDS, None]).flatmap(
    lambda times: _ANY_VALUE if times is None else times.map(lambda number: {"N": str(number)})
)
_ANY_ID: Final = st.one_of(
    st.uuids().map(lambda uuid: f"{uuid.hex[:15]}="),
    st.integers(0, 10**9).map(lambda number: f"L0SM{number}="),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    st.sampled_from(["room#lobby", "x" * (MAX_CONNECTION_ID_LENGTH + 1), "a b", "é", "\n"]),
)
_ROLE: Final = st.sampled_from([*_BY_ROLE, "admin"]).map(lambda role: {"S": role})
_ISO_FORMS: Final = (
    "%Y-%m-%dT%H:%M:%S.{ms:03}Z",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.{ms:03}000+00:00",
    "%Y-%m-%dT%H:%M:%S,{ms:03}+0000",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M",
    "%Y%m%dT%H%M%SZ",
    "%G-W%V-%uT%H:%M:%S",
    "%Y-%m-%d",
)


def _in_zone(ms: Decimal, form: str, hours: int) -> str:
    zone = timezone(timedelta(hours=hours))
    text = datetime.fromtimestamp(int(ms) // 1000, zone).strftime(form).format(ms=int(ms) % 1000)
    return text if not hours else f"{text.removesuffix('Z')}{hours:+03}:00"


_ISO_TIMES: Final = st.builds(
    lambda text: {"S": text},
    st.one_of(
        st.builds(_in_zone, _NEAR, st.sampled_from(_ISO_FORMS), st.just(0)),
        st.builds(
            _in_zone,
            _NEAR
            | st.integers(-2 * MAX_CLOCK_LEAD_MS, 2 * MAX_CLOCK_LEAD_MS).map(
                lambda ms: Decimal(NOW_MS + ms)
            ),
            st.sampled_from(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.{ms:03}", "%Y-%m-%dT%H:%M"]),
            st.integers(-14, 14),
        ),
    ),
)
_TIMES: Final = frozenset(
    ("connected_at", "last_activity", "gateway_active", "noticed_at", "claim_expires_at")
)


def many_items(
    schema: TableSchema = DEFAULT_SCHEMA, *, is_indexed: bool
) -> st.SearchStrategy[list[Item]]:
    """Return the strategy for up to 25 items, each with a key of its own: one batch of puts.

    They have the key, and whatever else; most meet the conditions of the schema. A table whose
    index has sessions and roles refuses an item in which these are no texts.
    """
    text = st.builds(lambda text: {"S": text}, st.text(st.characters(codec="utf-8"), min_size=1))
    names = attributes_of(schema)
    texts = {schema.session_id, schema.role} if is_indexed else set()
    others: dict[str, st.SearchStrategy[dict[str, Any]]] = {
        name: _ROLE | text if name in texts else _times_of(schema, meaning)
        for meaning, name in names.items()
        if meaning != "connection_id"
    }
    return st.lists(
        st.builds(
            lambda attributes, ours: attributes | ours,
            st.fixed_dictionaries({}, optional=others),
            _ours(schema),
        ),
        min_size=1,
        max_size=25,
        unique_by=lambda item: repr(key_in(item, schema)),
    )


def _times_of(schema: TableSchema, meaning: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return the strategy for an attribute: a time is mostly as this table writes it."""
    if meaning == "role":
        return _ROLE | _ROLE | _ANY_VALUE
    if meaning not in _TIMES:
        return _ANY_VALUE
    units = {
        "connected_at": (schema.connected_at_unit, schema.connected_at_offset_s),
        "last_activity": (schema.last_activity_unit, schema.last_activity_offset_s),
    }
    unit, offset_s = units.get(meaning, (TimeUnit.MILLISECONDS, 0))
    if unit is TimeUnit.ISO8601:
        return _TIME | _ISO_TIMES | _ISO_TIMES
    per_ms, offset = Decimal(1_000 if unit is TimeUnit.SECONDS else 1), Decimal(offset_s * 1_000)
    held = (_NEAR | _NEAR | _BOUNDS).map(lambda ms: {"N": str((ms + offset) / per_ms)})
    return _TIME if per_ms == 1 else _TIME | held | held


@st.composite
def _ours(draw: st.DrawFn, schema: TableSchema) -> Item:
    """Draw a key, and what says that the item is a connection, or nearly."""
    connection_id = draw(_ANY_ID)
    item = item_of(Connection(connection_id=connection_id), schema)
    key = {name for name, _ in schema.key_attributes} or {schema.connection_id}
    conditions = {one.attribute for one in schema.only} | {schema.connection_id}
    # What to change, and what to put in its place, if anything. Most is left as it is.
    changes: list[tuple[str, st.SearchStrategy[Any] | None]] = [("", None), ("", None)]
    for name in sorted(conditions - key):
        changes += [(name, None), (name, _ANY_VALUE)]
    if schema.key_attributes:
        texts = st.sampled_from(["ROOM#1", "META", "CONN#", "CONN#c1=", connection_id])
        changes += [(name, texts) for name in sorted(conditions & key) if "S" in item[name]]
    name, values = changes[draw(st.integers(0, len(changes) - 1))]
    if values is None:
        return {other: value for other, value in item.items() if other != name}
    value = draw(values)
    return item | {name: {"S": value} if isinstance(value, str) else value}


def key_in(item: Item, schema: TableSchema) -> Item:
    """Return the key of an item."""
    names = [name for name, _ in schema.key_attributes] or [schema.connection_id]
    return {name: item[name] for name in names}


def assert_finds_what_is_not_to_be_kept(
    connections: ConnectionsRepository,
    items: Sequence[Item],
    policy: IdlePolicy,
    schema: TableSchema = DEFAULT_SCHEMA,
) -> None:
    """Check that a scan of a table with these items misses none that the rule would not keep.

    All but those under a claim, which it must leave out, and those that are no connections by the
    schema. No filter can tell whether an id has the form of API Gateway's: of an item that is no
    connection its times decide, as of any other. Nor can it tell whether a text is a time.
    """
    cutoff_ms = policy.cutoff_ms(NOW_MS)
    newest_ms = NOW_MS + MAX_CLOCK_LEAD_MS
    pages = connections.scan_candidates(
        cutoff_ms=cutoff_ms, now_ms=NOW_MS, segment=0, total_segments=1
    )
    found = [one.key or one.connection_id for page in pages for one in page.candidates]
    assert len(found) == len(set(found))
    for item in items:
        place = schema.table_key.in_item(item) or _id_in(item, schema)
        is_found = place in found
        if not schema.matches(item):
            assert not is_found, item
            continue
        claim_ms = Decimal(item.get(schema.claim_expires_at, {}).get("N", 0))
        if NOW_MS + 1 <= claim_ms <= newest_ms:
            assert not is_found, item
        # A claim that is a part of a millisecond too long may count or not.
        elif not newest_ms < claim_ms < newest_ms + 1 and _is_not_kept(item, policy, schema):
            assert is_found, item


def _id_in(item: Item, schema: TableSchema) -> str:
    return str(item[schema.connection_id]["S"]).removeprefix(schema.id_prefix)


def _is_not_kept(item: Item, policy: IdlePolicy, schema: TableSchema) -> bool:
    by_its_times = replace(schema.decode(item), connection_id="c1=")
    decision = decide(by_its_times, policy, NOW_MS)
    is_text = isinstance(decision, Unreadable) and "ISO" in (
        schema.time_attribute(decision.time.time).written_as
    )
    return not isinstance(decision, Keep) and not is_text
