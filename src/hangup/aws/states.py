"""The state table in DynamoDB: see ``aws.state_table``."""

from collections.abc import Mapping, Sequence
from typing import Final

from hangup.aws import expressions as expr
from hangup.aws.retries import Calls
from hangup.aws.schema import DEFAULT_SCHEMA
from hangup.aws.state_table import State
from hangup.aws.table import DynamoDb, DynamoDbTable, Write
from hangup.aws.table_requests import update_of
from hangup.aws.values import Item, Values, count_in, number, string, time_in
from hangup.core.connection import Connection, EpochMs
from hangup.core.limits import MAX_CLOCK_LEAD_MS, MAX_CONNECTION_S, MAX_HANDOVERS
from hangup.ports import Clock

_KEPT_S: Final = MAX_CONNECTION_S + 3_600
"""How long state is kept after it was last written: no connection lives longer, and no claim holds
longer than an hour."""


class DynamoDbStates:
    """``States`` in a DynamoDB table with the key ``connectionId`` (S) and the TTL ``expiresAt``.

    Attributes are called as in the default schema, whatever the connections table calls them;
    ``lastActivityTime`` is ``State.recorded_ms``.
    """

    def __init__(self, client: DynamoDb, calls: Calls, table: str, clock: Clock) -> None:
        self._table = DynamoDbTable(client, calls, table, key=DEFAULT_SCHEMA.connection_id)
        self._clock = clock

    def get_many(self, places: Sequence[str], *, consistent: bool) -> Mapping[str, State]:
        """Return the state of up to 100 places, of those that have any."""
        items = self._table.get_many([_key(place) for place in places], consistent=consistent)
        return {item[DEFAULT_SCHEMA.connection_id]["S"]: state_in(item) for item in items}

    def claim(
        self,
        place: str,
        connection: Connection,
        *,
        now_ms: EpochMs,
        claim_expires_ms: EpochMs,
        token: str,
    ) -> bool:
        """Take the claim; return whether it was."""
        values = {
            ":claim": number(claim_expires_ms),
            ":token": string(token),
            ":from_now": number(now_ms + 1),
            ":future": number(now_ms + MAX_CLOCK_LEAD_MS),
            ":next": number(connection.handovers + 1),
            ":most": number(MAX_HANDOVERS + 1),
            **_silence(connection, connection.handovers + 1),
        }
        if not connection.is_noticed:
            # DynamoDB refuses a value that no expression uses.
            values[":seen"] = number(connection.last_seen_ms or 0)
        condition = expr.may_claim_state(is_noticed=connection.is_noticed)
        is_written, refused = self._update(
            place, f"{expr.CLAIM}, #last_activity = :recorded", condition, values
        )
        # Refused by our own claim: an attempt took effect, and its answer was lost.
        return is_written or refused.get(DEFAULT_SCHEMA.claim_token) == string(token)

    def release(
        self, place: str, connection: Connection, *, noticed_at_ms: EpochMs | None, handovers: int
    ) -> None:
        """Give a claim back."""
        values = _silence(connection, handovers)
        if noticed_at_ms is not None:
            values[":noticed"] = number(noticed_at_ms)
        self._update(place, _released(noticed=noticed_at_ms is not None), "", values)

    def give_back(self, place: str, connection: Connection, *, token: str) -> None:
        """Undo a claim, if it still is this one."""
        values = {":token": string(token), **_silence(connection, connection.handovers)}
        self._update(place, _released(noticed=False), expr.IS_THIS_CLAIM, values)

    def note(self, place: str, *, active_ms: EpochMs, now_ms: EpochMs) -> bool:
        """Note when API Gateway last saw the connection active."""
        values = {
            ":active": number(active_ms),
            ":future": number(now_ms + MAX_CLOCK_LEAD_MS),
            ":number": string("N"),
        }
        return self._update(place, expr.SET_GATEWAY_ACTIVE, expr.IS_LATER, values).is_written

    def _update(self, place: str, update: str, condition: str, values: Values) -> Write:
        expires_s = self._clock.now_ms() // 1_000 + _KEPT_S
        request = update_of(
            DEFAULT_SCHEMA,
            _key(place),
            # After the first word, which is SET in each.
            update=f"SET #expires_at = :expires, {update.removeprefix('SET ')}",
            condition=condition,
            values={":expires": number(expires_s), **values},
        )
        return self._table.update({name: value for name, value in request.items() if value})


def _key(place: str) -> Values:
    return {DEFAULT_SCHEMA.connection_id: string(place)}


def _silence(connection: Connection, handovers: int) -> Values:
    return {
        ":handovers": number(min(handovers, MAX_HANDOVERS)),
        ":recorded": number(connection.recorded_ms or 0),
    }


def _released(*, noticed: bool) -> str:
    notice = ", #noticed_at = :noticed" if noticed else ""
    return f"SET #handovers = :handovers, #last_activity = :recorded{notice} {expr.DROP_CLAIM}"


def state_in(item: Item) -> State:
    """Return the state in an item of any shape."""
    return State(
        gateway_active_ms=time_in(item, DEFAULT_SCHEMA.gateway_active),
        noticed_at_ms=time_in(item, DEFAULT_SCHEMA.noticed_at),
        handovers=count_in(item, DEFAULT_SCHEMA.handovers),
        recorded_ms=DEFAULT_SCHEMA.times.activity.in_item(item),
        claim_expires_ms=DEFAULT_SCHEMA.decode_claim(item),
    )
