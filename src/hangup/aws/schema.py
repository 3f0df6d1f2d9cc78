"""The connections table: what its attributes are called, what its items mean, how it is written.

The only place, beside ``session_schema``, that knows an attribute's name. In an expression,
``#last_activity`` stands for the name in the field ``last_activity`` of the schema. So expressions
are the same for every table, and any name works: a word that DynamoDB reserves, or one with a dot.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from hangup.core.connection import Connection, DurationMs, EpochMs, RecordedTime
from hangup.core.limits import (
    MAX_CLOCK_LEAD_MS,
    MAX_CONNECTION_S,
    MAX_PLAUSIBLE_EPOCH_MS,
    MIN_PLAUSIBLE_EPOCH_MS,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import (
        AttributeValueTypeDef,
        UniversalAttributeValueTypeDef,
    )

Item = Mapping[str, "AttributeValueTypeDef"]
"""An item as DynamoDB returns it."""

Values = dict[str, "UniversalAttributeValueTypeDef"]
"""An item, a key, or the values of expressions, as DynamoDB takes them."""

Request = dict[str, Any]
"""What a request to DynamoDB says beside the name of the table, which the adapter adds."""

_TTL_SLACK_S: Final = 3_600

_SWEPT: Final = "#connection_id, #session_id, #role, #connected_at, #last_activity, #noticed_at"

_IN_SESSION: Final = "#session_id = :session AND #role = :role"
_EXISTS: Final = "attribute_exists(#connection_id)"
_IS_NEW: Final = "attribute_not_exists(#connection_id)"
_HAS_NO_CONNECT: Final = "attribute_not_exists(#connected_at)"
_HAS_NO_ACTIVITY: Final = "attribute_not_exists(#last_activity)"
_ACTIVITY_IS_NO_TIME: Final = (
    "(attribute_exists(#last_activity) AND NOT attribute_type(#last_activity, :number))"
    " OR #last_activity > :future"
)

# Exclusive, as the rule of core.policy is: a connection is not idle at its deadline.
_ACTIVITY_IS_OLD: Final = "#last_activity < :cutoff"
_CONNECT_IS_OLD_OR_UNKNOWN: Final = (
    f"({_HAS_NO_CONNECT} OR #connected_at < :cutoff OR #connected_at > :future"
    " OR NOT attribute_type(#connected_at, :number))"
)
_IS_CANDIDATE: Final = (
    f"{_ACTIVITY_IS_OLD} OR ({_HAS_NO_ACTIVITY} AND {_CONNECT_IS_OLD_OR_UNKNOWN})"
    f" OR {_ACTIVITY_IS_NO_TIME}"
)

# "<=" where "=" is meant: the model rounds fractions up, and activity never moves back.
_ACTIVITY_IS_AS_SEEN: Final = "#last_activity <= :seen"
_CONNECT_IS_AS_SEEN: Final = f"{_HAS_NO_ACTIVITY} AND #connected_at <= :seen"
IS_UNCLAIMED: Final = "(attribute_not_exists(#claim_expires_at) OR #claim_expires_at <= :now)"
# True as well where there is none, or it is no number. A time to come is no notice of ours.
_HAS_NO_OTHER_NOTICE: Final = "NOT (#noticed_at BETWEEN :seen AND :future)"
_CLAIM: Final = "SET #claim_expires_at = :claim, #claim_token = :token"
DROP_CLAIM: Final = "REMOVE #claim_expires_at, #claim_token"

_HAS_NO_TIMES: Final = f"{_EXISTS} AND {_HAS_NO_ACTIVITY} AND {_HAS_NO_CONNECT}"
# With a resolution, exactly one resolution old is old enough to be written again.
_MAY_RECORD, _MAY_RECORD_COALESCED = (
    f"{_EXISTS} AND ({_HAS_NO_ACTIVITY} OR #last_activity {is_before} :old"
    f" OR {_ACTIVITY_IS_NO_TIME})"
    for is_before in ("<", "<=")
)
_SET_ACTIVITY: Final = "SET #last_activity = :now"

_NUMBER: Final[Values] = {":number": {"S": "N"}}


@cache
def _may_claim(*, was_active: bool, is_noticed: bool) -> str:
    """Return the condition of a claim, by what was seen of the connection."""
    unchanged = _ACTIVITY_IS_AS_SEEN if was_active else _CONNECT_IS_AS_SEEN
    others = [] if is_noticed else [_HAS_NO_OTHER_NOTICE]
    return " AND ".join([unchanged, IS_UNCLAIMED, *others])


@cache
def names_in(schema: object, *expressions: str) -> Mapping[str, str]:
    """Return what the aliases in these expressions stand for: DynamoDB refuses any other.

    Made once for each schema and operation, however many requests there are.
    """
    fields = re.findall(r"#(\w+)", " ".join(expressions))
    return {f"#{field}": getattr(schema, field) for field in fields}


def update_of(
    schema: object, key: Values, *, update: str, condition: str, values: Values | None = None
) -> Request:
    """Return the update of one item, with the names that its expressions need."""
    return {
        "Key": key,
        "UpdateExpression": update,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names_in(schema, update, condition),
        # DynamoDB refuses an empty one.
        **({"ExpressionAttributeValues": values} if values else {}),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSchema:
    """The attributes of a connections table by what they mean, each with its name in the table.

    The key is ``connection_id``, a string, without a sort key. Times are epoch milliseconds, all
    but ``expires_at``: DynamoDB's TTL, epoch seconds. Hangup itself writes ``last_activity``,
    ``noticed_at`` and the claim; the others only when a connection joins the reference application.
    """

    connection_id: str = "connectionId"
    session_id: str = "sessionId"
    role: str = "role"
    connected_at: str = "connectedAt"
    last_activity: str = "lastActivityTime"
    noticed_at: str = "noticedAt"
    claim_expires_at: str = "claimExpiresAt"
    claim_token: str = "claimToken"  # noqa: S105 - a name
    expires_at: str = "expiresAt"
    target_language: str = "targetLanguage"

    # -- items ---------------------------------------------------------------------------------

    def key(self, connection_id: str) -> Values:
        """Return the key of a connection's item."""
        return {self.connection_id: string(connection_id)}

    def decode(self, item: Item) -> Connection:
        """Return the connection in an item of any shape that has the key, else KeyError."""
        connected_at_ms = _time(item, self.connected_at)
        last_activity_ms = _time(item, self.last_activity)
        malformed: tuple[RecordedTime, ...] = ()
        if connected_at_ms is None and self.connected_at in item:
            malformed = (RecordedTime.CONNECTED_AT,)
        if last_activity_ms is None and self.last_activity in item:
            malformed += (RecordedTime.LAST_ACTIVITY,)
        return Connection(
            connection_id=item[self.connection_id]["S"],
            session_id=_text(item, self.session_id),
            role=_text(item, self.role),
            connected_at_ms=connected_at_ms,
            last_activity_ms=last_activity_ms,
            noticed_at_ms=_time(item, self.noticed_at),
            target_language=_text(item, self.target_language),
            malformed=malformed,
        )

    def decode_claim(self, item: Item) -> EpochMs | None:
        """Return when the claim in an item expires, ``None`` if there is none."""
        claim = item.get(self.claim_expires_at, {}).get("N")
        return None if claim is None else EpochMs(int(Decimal(claim)))

    def encode(self, connection: Connection) -> Values:
        """Return the item of a connection that has just joined: ``connected_at_ms`` is set."""
        connected_at_ms = connection.connected_at_ms
        assert connected_at_ms is not None  # noqa: S101 - the type cannot say it
        texts = {
            self.session_id: connection.session_id,
            self.role: connection.role,
            self.target_language: connection.target_language,
        }
        return {
            **self.key(connection.connection_id),
            **{name: string(text) for name, text in texts.items() if text is not None},
            self.connected_at: number(connected_at_ms),
            self.last_activity: number(connection.last_activity_ms or connected_at_ms),
            self.expires_at: number(connected_at_ms // 1000 + MAX_CONNECTION_S + _TTL_SLACK_S),
        }

    # -- reads ---------------------------------------------------------------------------------

    def candidates(self, cutoff_ms: EpochMs) -> Request:
        """Return a scan for what a sweep reads of records that may be idle.

        Those are last active before ``cutoff_ms`` (exclusive), or more than a day in the future,
        or at no time that is a number; without an activity, the connect decides.
        """
        return {
            "ProjectionExpression": _SWEPT,
            "FilterExpression": _IS_CANDIDATE,
            "ExpressionAttributeNames": names_in(self, _SWEPT, _IS_CANDIDATE),
            "ExpressionAttributeValues": {
                ":cutoff": number(cutoff_ms),
                # At most a timeout earlier than a day from now: far from any clock's error.
                ":future": number(cutoff_ms + MAX_CLOCK_LEAD_MS),
                **_NUMBER,
            },
        }

    def records_with_claims(self) -> Request:
        """Return a scan for what a sweep reads, and the claim, of every record."""
        projection = f"{_SWEPT}, #claim_expires_at"
        return {
            "ProjectionExpression": projection,
            "ExpressionAttributeNames": names_in(self, projection),
        }

    def of_session(self, session_id: str, role: str) -> Request:
        """Return a query of the index for the connections with a role in a session."""
        return {
            "KeyConditionExpression": _IN_SESSION,
            "ExpressionAttributeNames": names_in(self, _IN_SESSION),
            "ExpressionAttributeValues": {":session": string(session_id), ":role": string(role)},
        }

    # -- writes --------------------------------------------------------------------------------

    def claim(
        self,
        connection: Connection,
        *,
        now_ms: EpochMs,
        claim_expires_ms: EpochMs,
        token: "UniversalAttributeValueTypeDef",
    ) -> Request | None:
        """Return the claim of a connection as it was seen; ``None`` if it has no time.

        Refused if the client became active since, if somebody else sent the notice since, or
        while another claim holds: until ``now_ms`` is its expiry.
        """
        seen_ms = connection.last_seen_ms
        if seen_ms is None:
            return None
        is_noticed = connection.is_noticed
        values = {
            ":claim": number(claim_expires_ms),
            ":token": token,
            ":seen": number(seen_ms),
            ":now": number(now_ms),
        }
        if not is_noticed:
            values[":future"] = number(now_ms + MAX_CLOCK_LEAD_MS)
        was_active = connection.last_activity_ms is not None
        condition = _may_claim(was_active=was_active, is_noticed=is_noticed)
        return self._update(connection.connection_id, _CLAIM, condition, values)

    def release(self, connection_id: str, *, noticed_at_ms: EpochMs | None) -> Request:
        """Return the release of a claim; with a time, it remembers when the notice was sent."""
        if noticed_at_ms is None:
            return self._update(connection_id, DROP_CLAIM, _EXISTS)
        update = f"SET #noticed_at = :noticed {DROP_CLAIM}"
        return self._update(connection_id, update, _EXISTS, {":noticed": number(noticed_at_ms)})

    def drop_claim(self, connection_id: str, *, seen_ms: EpochMs) -> Request:
        """Return the end of a claim that nobody releases, if it still expires at ``seen_ms``."""
        condition = "#claim_expires_at = :seen"
        return self._update(connection_id, DROP_CLAIM, condition, {":seen": number(seen_ms)})

    def start_clock(self, connection_id: str, *, now_ms: EpochMs) -> Request:
        """Return the first time of a record without times; refused if it has one by now."""
        return self._update(connection_id, _SET_ACTIVITY, _HAS_NO_TIMES, {":now": number(now_ms)})

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> Request:
        """Return the move of the last activity to ``now_ms``.

        Refused without a record, and if the activity on record is not before that; with a
        resolution, if it is not at least that old.
        """
        values = {
            ":now": number(now_ms),
            ":old": number(now_ms - resolution_ms),
            ":future": number(now_ms + MAX_CLOCK_LEAD_MS),
            **_NUMBER,
        }
        condition = _MAY_RECORD_COALESCED if resolution_ms else _MAY_RECORD
        return self._update(connection_id, _SET_ACTIVITY, condition, values)

    def creation(self, connection: Connection) -> Request:
        """Return the put of a connection that has just joined; refused where its id is taken."""
        return {
            "Item": self.encode(connection),
            "ConditionExpression": _IS_NEW,
            "ExpressionAttributeNames": names_in(self, _IS_NEW),
        }

    def removal(self, connection_id: str) -> Request:
        """Return the deletion of a record; refused where there is none."""
        return {
            "Key": self.key(connection_id),
            "ConditionExpression": _EXISTS,
            "ExpressionAttributeNames": names_in(self, _EXISTS),
        }

    def _update(
        self, connection_id: str, update: str, condition: str, values: Values | None = None
    ) -> Request:
        return update_of(
            self, self.key(connection_id), update=update, condition=condition, values=values
        )


DEFAULT_SCHEMA: Final = TableSchema()
"""The table of the reference application."""


def string(value: str) -> "UniversalAttributeValueTypeDef":
    """Return a DynamoDB string."""
    return {"S": str(value)}


def number(value: int) -> "UniversalAttributeValueTypeDef":
    """Return a DynamoDB number."""
    return {"N": str(value)}


_NOTHING: Final["AttributeValueTypeDef"] = {}


def _text(item: Item, name: str) -> str | None:
    return item.get(name, _NOTHING).get("S") or None


def _time(item: Item, name: str) -> EpochMs | None:
    """Return a plausible epoch-millisecond number, ``None`` for anything else and for nothing.

    A fraction is rounded up: a connection is never closed a part of a millisecond early.
    """
    value = item.get(name)
    if value is None:
        return None
    try:
        ms = Decimal(value["N"]).to_integral_value(rounding=ROUND_CEILING)
    except (KeyError, InvalidOperation):
        return None
    return EpochMs(int(ms)) if MIN_PLAUSIBLE_EPOCH_MS <= ms < MAX_PLAUSIBLE_EPOCH_MS else None
