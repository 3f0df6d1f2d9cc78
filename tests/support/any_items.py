"""Strategies for the items of a connections table: any value of any type for each attribute."""

from collections.abc import Sequence
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st

from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.limits import (
    MAX_CLOCK_LEAD_MS,
    MAX_CONNECTION_ID_LENGTH,
    MAX_PLAUSIBLE_EPOCH_MS,
    MIN_PLAUSIBLE_EPOCH_MS,
)
from hangup.core.policy import IdlePolicy, Keep, decide
from hangup.ports import ConnectionsRepository

__all__ = ["ANY_POLICY", "assert_finds_what_is_not_to_be_kept", "many_items"]

Item = dict[str, Any]

NOW_MS: Final = EpochMs(1_700_000_000_000)
_TIMEOUT_MS: Final = 120_000

ANY_POLICY: Final = st.builds(
    IdlePolicy,
    idle_timeout_ms=st.just(DurationMs(_TIMEOUT_MS)),
    activity_resolution_ms=st.sampled_from([DurationMs(0), DurationMs(10_000)]),
)
"""The timeout that the times of the items are around."""

_BOUNDS: Final = st.builds(
    lambda bound, off: bound + off,
    st.sampled_from(
        [
            NOW_MS,
            NOW_MS - _TIMEOUT_MS,
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
_TIMES: Final = frozenset(
    ("connected_at", "last_activity", "gateway_active", "noticed_at", "claim_expires_at")
)


def many_items(
    schema: TableSchema = DEFAULT_SCHEMA, *, is_indexed: bool
) -> st.SearchStrategy[list[Item]]:
    """Return the strategy for up to 25 items, each with a key of its own: one batch of puts.

    They have the key, and whatever else. A table whose index has sessions and roles refuses an item
    in which these are no texts.
    """
    text = st.builds(lambda text: {"S": text}, st.text(st.characters(codec="utf-8"), min_size=1))
    texts = {schema.session_id, schema.role} if is_indexed else set()
    names = {field.name: getattr(schema, field.name) for field in fields(schema)}
    others: dict[str, st.SearchStrategy[dict[str, Any]]] = {
        name: text if name in texts else _TIME if meaning in _TIMES else _ANY_VALUE
        for meaning, name in names.items()
        if name != schema.connection_id
    }
    key = {schema.connection_id: _ANY_ID.map(lambda connection_id: {"S": connection_id})}
    return st.lists(
        st.fixed_dictionaries(key, optional=others),
        min_size=1,
        max_size=25,
        unique_by=lambda item: item[schema.connection_id]["S"],
    )


def assert_finds_what_is_not_to_be_kept(
    connections: ConnectionsRepository,
    items: Sequence[Item],
    policy: IdlePolicy,
    schema: TableSchema = DEFAULT_SCHEMA,
) -> None:
    """Check that a scan of a table with these items misses none that the rule would not keep.

    All but those under a claim, which it must leave out. No filter can tell whether an id has the
    form of API Gateway's: of an item that is no connection its times decide, as of any other.
    """
    cutoff_ms = policy.cutoff_ms(NOW_MS)
    newest_ms = NOW_MS + MAX_CLOCK_LEAD_MS
    pages = connections.scan_candidates(
        cutoff_ms=cutoff_ms, now_ms=NOW_MS, segment=0, total_segments=1
    )
    found = {connection.connection_id for page in pages for connection in page.candidates}
    for item in items:
        connection = schema.decode(item)
        is_found = connection.connection_id in found
        claim_ms = Decimal(item.get(schema.claim_expires_at, {}).get("N", 0))
        if NOW_MS + 1 <= claim_ms <= newest_ms:
            assert not is_found, item
        # A claim that is a part of a millisecond too long may count or not.
        elif _is_not_kept(connection, policy) and not newest_ms < claim_ms < newest_ms + 1:
            assert is_found, item


def _is_not_kept(connection: Connection, policy: IdlePolicy) -> bool:
    by_its_times = replace(connection, connection_id="c1=")
    return not isinstance(decide(by_its_times, policy, NOW_MS), Keep)
