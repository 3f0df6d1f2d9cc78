"""The conditions of DynamoDB requests about connections, in aliases and placeholders.

``#last_activity`` stands for the name in the field ``last_activity`` of the ``TableSchema``. So
expressions are the same for every table that writes its times alike, and any name works: a word
that DynamoDB reserves, or one with a dot.

The application's own times are compared as its table has them (``aws.times``), Hangup's own in
milliseconds. A ``Form`` says how: as numbers, as texts, or not at all, since there is no such time.
"""

from functools import cache
from typing import Final, Literal

from hangup.core.connection import Connection

Form = Literal["number", "text"] | None
"""How a time is compared; None where the table has no such attribute."""

EXISTS: Final = "attribute_exists(#connection_id)"
IS_SAME_ID: Final = "#connection_id = :id"
IS_TEXT: Final = "attribute_type(#connection_id, :text)"
IS_NEW: Final = "attribute_not_exists(#connection_id)"
IN_SESSION: Final = "#session_id = :session AND #role = :role"

_HAS_NO_CONNECT: Final = "attribute_not_exists(#connected_at)"
_HAS_NO_ACTIVITY: Final = "attribute_not_exists(#last_activity)"

_HAS_NO_OTHER_NOTICE: Final = "NOT (#noticed_at BETWEEN :seen AND :future)"
_IS_NOT_HANDED_OVER_SINCE: Final = "NOT (#handovers BETWEEN :next AND :most)"
HAS_NO_CLAIM: Final = "NOT (#claim_expires_at BETWEEN :from_now AND :future)"
IS_UNCLAIMED: Final = "(attribute_not_exists(#claim_expires_at) OR #claim_expires_at <= :now)"

CLAIM: Final = "SET #claim_expires_at = :claim, #claim_token = :token, #handovers = :handovers"
DROP_CLAIM: Final = "REMOVE #claim_expires_at, #claim_token"
OWN: Final = ("gateway_active", "noticed_at", "handovers", "claim_expires_at", "claim_token")
"""What Hangup alone writes."""

HAS_TRACES: Final = f"({' OR '.join(f'attribute_exists(#{one})' for one in OWN)})"
HAS_TRACES_OF_ONE_THAT_LEFT: Final = (
    "(attribute_type(#gateway_active, :number) OR attribute_type(#handovers, :number)"
    " AND (attribute_type(#noticed_at, :number)"
    " OR attribute_type(#claim_expires_at, :number) AND attribute_exists(#claim_token)))"
)
"""Traces together, as a claim or its release leaves them. An item that does not look like a
connection may have one of these names for something of the application's own."""
REMOVE_TRACES: Final = f"REMOVE {', '.join(f'#{one}' for one in OWN)}"
IS_UNDER_CLAIM: Final = "#claim_expires_at = :claim"
IS_THIS_CLAIM: Final = "#claim_token = :token"

IS_LATER: Final = (
    "(attribute_not_exists(#gateway_active) OR #gateway_active < :active"
    " OR #gateway_active > :future OR NOT attribute_type(#gateway_active, :number))"
)
# Who speaks, or is known to API Gateway, has not left: what was handed over came to nothing.
SET_ACTIVITY: Final = "SET #last_activity = :now REMOVE #handovers"
SET_GATEWAY_ACTIVE: Final = "SET #gateway_active = :active REMOVE #handovers"


def all_of(*conditions: str) -> str:
    """Return the conditions as one, without those that are empty."""
    return " AND ".join(filter(None, conditions))


@cache
def is_candidate(activity: Form, connect: Form) -> str:
    """Return the filter of a sweep's scan: what ``core.policy`` would not keep, and no claim.

    A comparison does not hold where there is nothing, or something else than the attribute's type.
    A time that is too early or in the future is not one of ours. So an item is found, whatever it
    holds.
    """
    # From the cutoff on, as the rule of core.policy is: not idle at the deadline itself.
    was_active, is_readable = (_is_since(first, activity, connect) for first in _FIRST)
    was_asked = "#gateway_active BETWEEN :cutoff AND :future"
    if not was_active:
        return f"{HAS_NO_CLAIM} AND NOT ({was_asked})"
    has_no_times = _has_no_times(activity, connect)
    is_kept = (
        f"NOT #gateway_active > :future AND ({was_active}"
        f" OR {was_asked} AND ({is_readable} OR {has_no_times}))"
    )
    return f"{HAS_NO_CLAIM} AND NOT ({is_kept})"


@cache
def looks_idle(activity: Form, connect: Form) -> str:
    """Return the same filter by the application's own times alone; empty if there are none."""
    was_active = _is_since("cutoff", activity, connect)
    return f"NOT {was_active}" if was_active else ""


_FIRST: Final = ("cutoff", "earliest")


def _is_since(first: str, activity: Form, connect: Form) -> str:
    """Return the condition that the time that decides is not before a bound; empty without one."""
    times = []
    if activity:
        times.append(_between("#last_activity", first, "activity", activity))
    if connect:
        connected = _between("#connected_at", first, "connect", connect)
        times.append(all_of(_HAS_NO_ACTIVITY if activity else "", connected))
    # DynamoDB refuses parentheses round parentheses.
    return f"({' OR '.join(times)})" if len(times) > 1 else "".join(times)


def _between(alias: str, first: str, time: str, form: Form) -> str:
    condition = f"{alias} BETWEEN :{first}_{time} AND :future_{time}"
    if form == "number":
        return condition
    return (
        f"({condition} AND size({alias}) >= :iso_size AND contains({alias}, :iso_t)"
        f" AND (NOT contains({alias}, :iso_plus)"
        f" OR contains({alias}, :iso_utc) AND NOT contains({alias}, :iso_odd)))"
    )


def _has_no_times(activity: Form, connect: Form) -> str:
    return all_of(_HAS_NO_ACTIVITY if activity else "", _HAS_NO_CONNECT if connect else "")


@cache
def may_claim(is_ours: str, unchanged: str, *, is_noticed: bool) -> str:
    """Return the condition of a claim, by what was seen of the connection."""
    return all_of(
        is_ours,
        unchanged,
        HAS_NO_CLAIM,
        _IS_NOT_HANDED_OVER_SINCE,
        "" if is_noticed else _HAS_NO_OTHER_NOTICE,
    )


@cache
def may_claim_state(*, is_noticed: bool) -> str:
    """Return the condition of a claim in a state table, whose item need not be there yet.

    Hand-overs of an earlier silence do not count: ``#last_activity`` is what was recorded then.
    """
    handed_over = f"({_IS_NOT_HANDED_OVER_SINCE} OR #last_activity < :recorded)"
    return all_of(HAS_NO_CLAIM, handed_over, "" if is_noticed else _HAS_NO_OTHER_NOTICE)


def is_as_seen(connection: Connection, activity: Form, connect: Form) -> str:
    """Return the condition that nothing was recorded of a connection since it was seen.

    A number may be smaller than what was seen: the model rounds fractions up, and activity never
    moves back. A text must be the same.
    """
    if connection.last_activity_ms is not None:
        return _SAME_ACTIVITY[activity]
    if connection.connected_at_ms is not None:
        return all_of(_HAS_NO_ACTIVITY if activity else "", _SAME_CONNECT[connect])
    return _has_no_times(activity, connect)


_SAME_ACTIVITY, _SAME_CONNECT = (
    {"number": f"{alias} <= :recorded", "text": f"{alias} = :recorded", None: ""}
    for alias in ("#last_activity", "#connected_at")
)


@cache
def may_record(is_ours: str, activity: Form, *, coalesced: bool) -> str:
    """Return the condition under which an activity is written.

    With a resolution, exactly one resolution old is old enough to be written again. A text of
    another zone does not sort by time, so it is written over.
    """
    is_no_time = (
        "(attribute_exists(#last_activity) AND NOT attribute_type(#last_activity, :type))"
        " OR #last_activity > :future"
    )
    if activity == "text":
        is_no_time += (
            " OR (contains(#last_activity, :iso_plus) AND NOT contains(#last_activity, :iso_utc))"
        )
    is_before = "<=" if coalesced else "<"
    return f"{is_ours} AND ({_HAS_NO_ACTIVITY} OR #last_activity {is_before} :old OR {is_no_time})"
