"""The requests to DynamoDB about one connections table, in the words of ``aws.expressions``."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from hangup.aws import expressions as expr
from hangup.aws.schema import TableSchema
from hangup.aws.values import Values, number, string
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.limits import MAX_CLOCK_LEAD_MS, MAX_HANDOVERS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import UniversalAttributeValueTypeDef

Request = dict[str, Any]
"""What a request to DynamoDB says beside the name of the table, which the adapter adds."""

_NUMBER: Final[Values] = {":number": {"S": "N"}}


@cache
def names_in(schema: object, *expressions: str) -> Mapping[str, str]:
    """Return what the aliases in these expressions stand for: DynamoDB refuses any other.

    Made once for each schema and operation, however many requests there are.
    """
    others: Mapping[str, str] = getattr(schema, "aliases", {})
    used = re.findall(r"#(\w+)", " ".join(expressions))
    return {f"#{one}": others.get(one) or getattr(schema, one) for one in used}


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


class TableRequests:
    """Every request about the connections in a table of this schema.

    With ``has_state`` False, Hangup's own attributes are not in its items.
    """

    def __init__(self, schema: TableSchema, *, has_state: bool = True) -> None:
        self.schema: Final = schema
        self._has_state: Final = has_state

    @property
    def is_query(self) -> bool:
        """Whether a partition is read: that has no segments."""
        return self.schema.partition is not None

    def candidates(self, cutoff_ms: EpochMs, now_ms: EpochMs) -> Request:
        """Return a read of what a sweep needs of records that may be idle.

        Those are last active before ``cutoff_ms`` (exclusive), or more than a day in the future,
        or at no time that is one; without an activity, the connect decides. A record whose claim
        has not expired at ``now_ms`` is left out.
        """
        bounds = self.schema.times.bounds(cutoff_ms, now_ms)
        if self._has_state:
            is_candidate = expr.is_candidate(*self.schema.times.forms)
            return self._read(self.schema.swept, is_candidate, bounds)
        condition = expr.looks_idle(*self.schema.times.forms)
        # DynamoDB refuses a value that no expression uses.
        used = {name: bounds[name] for name in set(re.findall(r":\w+", condition))}
        return self._read(self.schema.swept, condition, used)

    def swept(self) -> Request:
        """Return a read of what a sweep needs of every record."""
        return self._read(self.schema.swept)

    def all_records(self) -> Request:
        """Return a read of whole records."""
        return self._read("")

    def records_with_traces(self) -> Request:
        """Return a read of what a sweep needs of records that have an attribute of Hangup's own.

        Where the id is not in the key, the application may have taken it out of an item and have
        left the item: that is read too. It is a read of the table, not of its index.
        """
        selection = self.schema.selection
        if not selection.needs_id:
            request = self._read(self.schema.swept, expr.HAS_TRACES)
        else:
            are_connections = expr.all_of(selection.names_id, expr.HAS_TRACES)
            condition = f"({are_connections} OR {expr.HAS_TRACES_OF_ONE_THAT_LEFT})"
            values = {**selection.id_values, **_NUMBER}
            request = self._read(
                self.schema.swept, condition, values, among=selection.filter_but_id
            )
        return {**request, "ConsistentRead": True}

    def records_with_traces_beside(self, index_keys: Sequence[str]) -> Request:
        """Return the same scan of a table whose index is what sweeps read.

        What is in the index has its partition, or without one its key, ``index_keys``. The
        application may have taken that out of an item, which is read too.
        """
        selection = self.schema.selection
        keys = {f"#index_{place}": name for place, name in enumerate(index_keys)}
        is_in_index = selection.key_condition or expr.all_of(
            *(f"attribute_exists({alias})" for alias in keys)
        )
        named = expr.all_of(selection.filter_but_id, selection.names_id, expr.HAS_TRACES)
        is_record = expr.all_of(is_in_index, selection.names_id, expr.HAS_TRACES)
        is_trace = f"({is_record} OR {expr.HAS_TRACES_OF_ONE_THAT_LEFT})"
        return {
            "ProjectionExpression": self.schema.swept,
            "FilterExpression": expr.all_of(selection.filter_but_id, is_trace),
            "ExpressionAttributeNames": {
                **names_in(self.schema, self.schema.swept, named, selection.key_condition),
                **({} if selection.key_condition else keys),
            },
            "ExpressionAttributeValues": {**selection.values, **selection.id_values, **_NUMBER},
            "ConsistentRead": True,
        }

    def records_with_claims(self) -> Request:
        """Return a read of what a sweep needs, the run and the claim of every record."""
        return self._read(f"{self.schema.swept}, #session_run, #claim_expires_at")

    def _read(
        self,
        projection: str,
        condition: str = "",
        values: Values | None = None,
        *,
        among: str | None = None,
    ) -> Request:
        selection = self.schema.selection
        filter_ = expr.all_of(selection.filter if among is None else among, condition)
        named = names_in(self.schema, projection, filter_, selection.key_condition)
        request = {
            "IndexName": self.schema.index,
            "KeyConditionExpression": selection.key_condition,
            "ProjectionExpression": projection,
            "FilterExpression": filter_,
            "ExpressionAttributeNames": named,
            "ExpressionAttributeValues": {**(values or {}), **selection.values},
        }
        return {name: value for name, value in request.items() if value}

    def of_session(self, session_id: str, role: str) -> Request:
        """Return a query of the index for the connections with a role in a session."""
        return {
            "KeyConditionExpression": expr.IN_SESSION,
            "ExpressionAttributeNames": names_in(self.schema, expr.IN_SESSION),
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
        condition = expr.may_claim(
            self.schema.selection.is_ours,
            expr.is_as_seen(connection, *self.schema.times.forms),
            is_noticed=connection.is_noticed,
        )
        values = {
            ":claim": number(claim_expires_ms),
            ":token": token,
            ":from_now": number(now_ms + 1),
            ":future": number(now_ms + MAX_CLOCK_LEAD_MS),
            ":next": number(connection.handovers + 1),
            ":most": number(MAX_HANDOVERS + 1),
            ":handovers": number(min(connection.handovers + 1, MAX_HANDOVERS)),
            **self.schema.times.recorded(connection, seen_ms),
        }
        if not connection.is_noticed:
            # DynamoDB refuses a value that no expression uses.
            values[":seen"] = number(seen_ms)
        return self._update(connection, expr.CLAIM, condition, values)

    def release(
        self, connection: Connection, *, noticed_at_ms: EpochMs | None, handovers: int
    ) -> Request:
        """Return the release of a claim; with a time, it remembers when the notice was sent."""
        values = {":handovers": number(min(handovers, MAX_HANDOVERS))}
        update = f"SET #handovers = :handovers {expr.DROP_CLAIM}"
        if noticed_at_ms is not None:
            values[":noticed"] = number(noticed_at_ms)
            update = f"SET #handovers = :handovers, #noticed_at = :noticed {expr.DROP_CLAIM}"
        return self._update(connection, update, self.schema.selection.is_ours, values)

    def removal_of_traces(self, key: Values, *, now_ms: EpochMs) -> Request:
        """Return the removal of Hangup's own attributes; refused while a claim holds."""
        selection = self.schema.selection
        condition = expr.all_of(expr.HAS_TRACES, selection.is_selected, expr.HAS_NO_CLAIM)
        values = {":from_now": number(now_ms + 1), ":future": number(now_ms + MAX_CLOCK_LEAD_MS)}
        return update_of(
            self.schema,
            key,
            update=expr.REMOVE_TRACES,
            condition=condition,
            values=values | selection.selected_values,
        )

    def drop_claim(self, connection_id: str, *, seen_ms: EpochMs) -> Request:
        """Return the end of a claim that nobody releases, if it still expires at ``seen_ms``."""
        return self._update(
            Connection(connection_id=connection_id),
            f"{expr.DROP_CLAIM}, #handovers",
            self._ours(expr.IS_UNDER_CLAIM),
            {":claim": number(seen_ms)},
        )

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
            **self.schema.times.recorded(connection, connection.recorded_ms),
        }
        unchanged = expr.is_as_seen(connection, *self.schema.times.forms)
        return self._update(
            connection, expr.SET_GATEWAY_ACTIVE, self._ours(unchanged, expr.IS_LATER), values
        )

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> Request:
        """Return the move of the last activity to ``now_ms``; it answers the item as it was before.

        Refused without a record, and if the activity on record is not before that; with a
        resolution, if it is not at least that old. Raises ``ConfigurationError`` if no record is
        found by an id, or has a last activity.
        """
        values = self.schema.times.recording(now_ms, resolution_ms)
        condition = expr.may_record(
            self.schema.selection.is_ours,
            self.schema.times.forms[0],
            coalesced=bool(resolution_ms),
        )
        connection = Connection(connection_id=connection_id)
        return {
            **self._update(connection, expr.SET_ACTIVITY, condition, values),
            "ReturnValues": "ALL_OLD",
        }

    def creation(self, connection: Connection) -> Request:
        """Return the put of a connection that has just joined; refused where its id is taken."""
        return {
            "Item": self.schema.encode(connection),
            "ConditionExpression": expr.IS_NEW,
            "ExpressionAttributeNames": names_in(self.schema, expr.IS_NEW),
        }

    def removal(self, connection_id: str) -> Request:
        """Return the deletion of a record; refused where there is none."""
        return {
            "Key": self.schema.key(connection_id),
            "ConditionExpression": expr.EXISTS,
            "ExpressionAttributeNames": names_in(self.schema, expr.EXISTS),
        }

    def deletion(self, connection: Connection, *, claim_expires_ms: EpochMs | None) -> Request:
        """Return the deletion of the record of a connection as it was seen, and under this claim.

        Refused if the record is gone, if the client became active since, or under another claim.
        Without a claim, that does not matter.
        """
        is_claimed = "" if claim_expires_ms is None else expr.IS_UNDER_CLAIM
        condition = self._ours(expr.is_as_seen(connection, *self.schema.times.forms), is_claimed)
        values = {
            **({} if claim_expires_ms is None else {":claim": number(claim_expires_ms)}),
            **self.schema.times.recorded(connection, connection.recorded_ms),
            **self._written(connection),
        }
        return {
            "Key": self.schema.table_key.of(connection),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": names_in(self.schema, condition),
            # DynamoDB refuses an empty one.
            **({"ExpressionAttributeValues": values} if values else {}),
        }

    def _ours(self, *conditions: str) -> str:
        return expr.all_of(self.schema.selection.is_ours, *conditions)

    def _written(self, connection: Connection) -> Values:
        """Return what the conditions compare that say that an item is still this connection."""
        values = self.schema.selection.write_values
        if self.schema.selection.needs_id:
            return values | {":id": string(f"{self.schema.id_prefix}{connection.connection_id}")}
        return values

    def _update(
        self, connection: Connection, update: str, condition: str, values: Values
    ) -> Request:
        return update_of(
            self.schema,
            self.schema.table_key.of(connection),
            update=update,
            condition=condition,
            values=values | self._written(connection),
        )
