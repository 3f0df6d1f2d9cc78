"""The connections table: what its attributes are called, what its items mean, how it is written.

The only place, beside ``session_schema``, that knows an attribute's name. In an expression,
``#last_activity`` stands for the name in the field ``last_activity`` of the schema. So expressions
are the same for every table, and any name works: a word that DynamoDB reserves, or one with a dot.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from hangup.aws.values import Item, Values, count_in, number, start_of, string, text_in, time_in
from hangup.core.connection import (
    Connection,
    DurationMs,
    EpochMs,
    InvalidTime,
    RecordedTime,
    is_epoch_ms,
)
from hangup.core.limits import (
    MAX_CLOCK_LEAD_MS,
    MAX_CONNECTION_S,
    MAX_HANDOVERS,
    MIN_PLAUSIBLE_EPOCH_MS,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import UniversalAttributeValueTypeDef

Request = dict[str, Any]
"""What a request to DynamoDB says beside the name of the table, which the adapter adds."""

_TTL_SLACK_S: Final = 3_600

_SWEPT: Final = (
    "#connection_id, #session_id, #role, #connected_at, #last_activity, #gateway_active,"
    " #noticed_at, #handovers"
)

_IN_SESSION: Final = "#session_id = :session AND #role = :role"
_EXISTS: Final = "attribute_exists(#connection_id)"
_IS_NEW: Final = "attribute_not_exists(#connection_id)"
_HAS_NO_CONNECT: Final = "attribute_not_exists(#connected_at)"
_HAS_NO_ACTIVITY: Final = "attribute_not_exists(#last_activity)"
_ACTIVITY_IS_NO_TIME: Final = (
    "(attribute_exists(#last_activity) AND NOT attribute_type(#last_activity, :number))"
    " OR #last_activity > :future"
)

# A comparison does not hold where there is nothing, or something else than a number. A time that is
# too early or to come is none of ours.
_WAS_ACTIVE, _IS_READABLE = (
    f"(#last_activity BETWEEN {first} AND :future"
    f" OR {_HAS_NO_ACTIVITY} AND #connected_at BETWEEN {first} AND :future)"
    # From the cutoff on, as the rule of core.policy is: a connection is not idle at its deadline.
    for first in (":cutoff", ":earliest")
)
_HAS_NO_TIMES: Final = f"{_HAS_NO_ACTIVITY} AND {_HAS_NO_CONNECT}"
_IS_KEPT: Final = (
    f"NOT #gateway_active > :future AND ({_WAS_ACTIVE}"
    f" OR #gateway_active BETWEEN :cutoff AND :future AND ({_IS_READABLE} OR {_HAS_NO_TIMES}))"
)
_HAS_NO_OTHER_NOTICE: Final = "NOT (#noticed_at BETWEEN :seen AND :future)"
_IS_NOT_HANDED_OVER_SINCE: Final = "NOT (#handovers BETWEEN :next AND :most)"
_HAS_NO_CLAIM: Final = "NOT (#claim_expires_at BETWEEN :from_now AND :future)"
# Whatever it may be: what core.policy would not keep is found.
_IS_CANDIDATE: Final = f"{_HAS_NO_CLAIM} AND NOT ({_IS_KEPT})"

# "<=" where "=" is meant: the model rounds fractions up, and activity never moves back.
_ACTIVITY_IS_AS_SEEN: Final = "#last_activity <= :seen"
_CONNECT_IS_AS_SEEN: Final = f"{_HAS_NO_ACTIVITY} AND #connected_at <= :seen"
IS_UNCLAIMED: Final = "(attribute_not_exists(#claim_expires_at) OR #claim_expires_at <= :now)"
_CLAIM: Final = "SET #claim_expires_at = :claim, #claim_token = :token, #handovers = :handovers"
DROP_CLAIM: Final = "REMOVE #claim_expires_at, #claim_token"

_IS_LATER: Final = (
    f"{_EXISTS} AND (attribute_not_exists(#gateway_active) OR #gateway_active < :active"
    " OR #gateway_active > :future OR NOT attribute_type(#gateway_active, :number))"
)
# With a resolution, exactly one resolution old is old enough to be written again.
_MAY_RECORD, _MAY_RECORD_COALESCED = (
    f"{_EXISTS} AND ({_HAS_NO_ACTIVITY} OR #last_activity {is_before} :old"
    f" OR {_ACTIVITY_IS_NO_TIME})"
    for is_before in ("<", "<=")
)
# Who speaks has not left: what was handed over before came to nothing.
_SET_ACTIVITY: Final = "SET #last_activity = :now REMOVE #handovers"

_NUMBER: Final[Values] = {":number": {"S": "N"}}


@cache
def _may_claim(unchanged: str, *, is_noticed: bool) -> str:
    """Return the condition of a claim, by what was seen of the connection."""
    others = [] if is_noticed else [_HAS_NO_OTHER_NOTICE]
    return " AND ".join([_EXISTS, unchanged, _HAS_NO_CLAIM, _IS_NOT_HANDED_OVER_SINCE, *others])


def _as_seen(connection: Connection) -> str:
    """Return the condition that nothing was recorded of a connection since it was seen."""
    if connection.last_activity_ms is not None:
        return _ACTIVITY_IS_AS_SEEN
    return _HAS_NO_TIMES if connection.connected_at_ms is None else _CONNECT_IS_AS_SEEN


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
    but ``expires_at``: DynamoDB's TTL, epoch seconds. A sweep writes ``gateway_active``,
    ``noticed_at``, ``handovers`` and the claim. Recording activity writes ``last_activity``; the
    others are written only when a connection joins the reference application.
    """

    connection_id: str = "connectionId"
    session_id: str = "sessionId"
    role: str = "role"
    session_run: str = "sessionRun"
    connected_at: str = "connectedAt"
    last_activity: str = "lastActivityTime"
    gateway_active: str = "gatewayActiveAt"
    noticed_at: str = "noticedAt"
    handovers: str = "handovers"
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
        connected_at_ms = time_in(item, self.connected_at)
        last_activity_ms = time_in(item, self.last_activity)
        malformed = tuple(
            InvalidTime(time, start_of(item[name]))
            for time, name, value_ms in (
                (RecordedTime.CONNECTED_AT, self.connected_at, connected_at_ms),
                (RecordedTime.LAST_ACTIVITY, self.last_activity, last_activity_ms),
            )
            if value_ms is None and name in item
        )
        return Connection(
            connection_id=item[self.connection_id]["S"],
            session_id=text_in(item, self.session_id),
            role=text_in(item, self.role),
            session_run=text_in(item, self.session_run),
            connected_at_ms=connected_at_ms,
            last_activity_ms=last_activity_ms,
            gateway_active_ms=time_in(item, self.gateway_active),
            noticed_at_ms=time_in(item, self.noticed_at),
            handovers=count_in(item, self.handovers),
            target_language=text_in(item, self.target_language),
            malformed=malformed,
        )

    def decode_claim(self, item: Item) -> EpochMs | None:
        """Return when the claim in an item expires, ``None`` if there is none that is a time."""
        try:
            expires_ms = int(Decimal(item[self.claim_expires_at]["N"]))
        except (KeyError, InvalidOperation):
            return None
        return EpochMs(expires_ms) if is_epoch_ms(expires_ms) else None

    def encode(self, connection: Connection) -> Values:
        """Return the item of a connection that has just joined: ``connected_at_ms`` is set."""
        connected_at_ms = connection.connected_at_ms
        assert connected_at_ms is not None  # noqa: S101 - the type cannot say it
        texts = {
            self.session_id: connection.session_id,
            self.role: connection.role,
            self.session_run: connection.session_run,
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

    def candidates(self, cutoff_ms: EpochMs, now_ms: EpochMs) -> Request:
        """Return a scan for what a sweep reads of records that may be idle.

        Those are last active before ``cutoff_ms`` (exclusive), or more than a day in the future,
        or at no time that is a number; without an activity, the connect decides. A record whose
        claim has not expired at ``now_ms`` is left out.
        """
        return {
            **self.swept(),
            "FilterExpression": _IS_CANDIDATE,
            "ExpressionAttributeNames": names_in(self, _SWEPT, _IS_CANDIDATE),
            "ExpressionAttributeValues": {
                ":cutoff": number(cutoff_ms),
                ":from_now": number(now_ms + 1),
                ":future": number(now_ms + MAX_CLOCK_LEAD_MS),
                ":earliest": number(MIN_PLAUSIBLE_EPOCH_MS),
            },
        }

    def swept(self) -> Request:
        """Return a scan for what a sweep reads of every record."""
        return {
            "ProjectionExpression": _SWEPT,
            "ExpressionAttributeNames": names_in(self, _SWEPT),
        }

    def time_name(self, time: RecordedTime) -> str:
        """Return what the table calls a time."""
        names = {
            RecordedTime.CONNECTED_AT: self.connected_at,
            RecordedTime.LAST_ACTIVITY: self.last_activity,
            RecordedTime.GATEWAY_ACTIVE: self.gateway_active,
        }
        return names[time]

    def records_with_claims(self) -> Request:
        """Return a scan for what a sweep reads, the run and the claim of every record."""
        projection = f"{_SWEPT}, #session_run, #claim_expires_at"
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

        Refused if the client became active since, if somebody else sent the notice or handed it
        over since, or while another claim holds: until ``now_ms`` is its expiry.
        """
        seen_ms = connection.last_seen_ms
        if seen_ms is None:
            return None
        condition = _may_claim(_as_seen(connection), is_noticed=connection.is_noticed)
        values = {
            ":claim": number(claim_expires_ms),
            ":token": token,
            ":from_now": number(now_ms + 1),
            ":future": number(now_ms + MAX_CLOCK_LEAD_MS),
            ":next": number(connection.handovers + 1),
            ":most": number(MAX_HANDOVERS + 1),
            ":handovers": number(min(connection.handovers + 1, MAX_HANDOVERS)),
        }
        if ":seen" in condition:
            # DynamoDB refuses a value that no expression uses.
            values[":seen"] = number(seen_ms)
        return self._update(connection.connection_id, _CLAIM, condition, values)

    def release(
        self, connection_id: str, *, noticed_at_ms: EpochMs | None, handovers: int
    ) -> Request:
        """Return the release of a claim; with a time, it remembers when the notice was sent."""
        values = {":handovers": number(min(handovers, MAX_HANDOVERS))}
        update = f"SET #handovers = :handovers {DROP_CLAIM}"
        if noticed_at_ms is not None:
            values[":noticed"] = number(noticed_at_ms)
            update = f"SET #handovers = :handovers, #noticed_at = :noticed {DROP_CLAIM}"
        return self._update(connection_id, update, _EXISTS, values)

    def drop_claim(self, connection_id: str, *, seen_ms: EpochMs) -> Request:
        """Return the end of a claim that nobody releases, if it still expires at ``seen_ms``."""
        update = f"{DROP_CLAIM}, #handovers"
        condition = "#claim_expires_at = :seen"
        return self._update(connection_id, update, condition, {":seen": number(seen_ms)})

    def record_gateway_activity(
        self, connection: Connection, *, active_ms: EpochMs, now_ms: EpochMs
    ) -> Request:
        """Return the note of when API Gateway last saw a connection active.

        Refused without a record, if activity was recorded since, and if a later time is noted.
        """
        values = {
            ":active": number(active_ms),
            ":future": number(now_ms + MAX_CLOCK_LEAD_MS),
            **_NUMBER,
        }
        if connection.recorded_ms is not None:
            values[":seen"] = number(connection.recorded_ms)
        update = "SET #gateway_active = :active"
        condition = f"{_as_seen(connection)} AND {_IS_LATER}"
        return self._update(connection.connection_id, update, condition, values)

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> Request:
        """Return the move of the last activity to ``now_ms``; it answers the item as it was before.

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
        update = self._update(connection_id, _SET_ACTIVITY, condition, values)
        return {**update, "ReturnValues": "ALL_OLD"}

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

    def deletion(self, connection: Connection, *, claim_expires_ms: EpochMs) -> Request:
        """Return the deletion of the record of a connection as it was seen, and under this claim.

        Refused if the record is gone, if the client became active since, or under another claim.
        """
        condition = f"{_as_seen(connection)} AND #claim_expires_at = :claim"
        values = {":claim": number(claim_expires_ms)}
        if connection.last_seen_ms is not None:
            values[":seen"] = number(connection.last_seen_ms)
        return {
            "Key": self.key(connection.connection_id),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": names_in(self, condition),
            "ExpressionAttributeValues": values,
        }

    def _update(
        self, connection_id: str, update: str, condition: str, values: Values | None = None
    ) -> Request:
        return update_of(
            self, self.key(connection_id), update=update, condition=condition, values=values
        )


DEFAULT_SCHEMA: Final = TableSchema()
"""The table of the reference application."""
