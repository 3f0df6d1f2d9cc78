"""The state table, in memory."""

from collections.abc import Mapping, Sequence

from hangup.aws.state_table import NO_STATE, State
from hangup.core.connection import Connection, EpochMs, is_claimed
from hangup.core.limits import MAX_CLOCK_LEAD_MS, MAX_HANDOVERS
from hangup.testing.faults import Faults, aws_call


class InMemoryStates:
    """``States`` in a dictionary, ``states``."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.states: dict[str, State] = {}
        self._tokens: dict[str, str] = {}
        self._faults = faults or Faults()

    @aws_call("BatchGetItem")
    def get_many(self, places: Sequence[str], *, consistent: bool) -> Mapping[str, State]:
        """Return the state of those places that have any."""
        del consistent
        return {place: self.states[place] for place in places if place in self.states}

    @aws_call("UpdateItem")
    def claim(
        self,
        place: str,
        connection: Connection,
        *,
        now_ms: EpochMs,
        claim_expires_ms: EpochMs,
        token: str,
    ) -> bool:
        """Take the claim unless another holds, or there was a notice or a hand-over since."""
        state = self.states.get(place, NO_STATE)
        recorded_ms = connection.recorded_ms or EpochMs(0)
        noticed_since = (
            not connection.is_noticed
            and state.noticed_at_ms is not None
            and (connection.last_seen_ms or 0) <= state.noticed_at_ms <= now_ms + MAX_CLOCK_LEAD_MS
        )
        handed_over_since = (
            state.handovers > connection.handovers and (state.recorded_ms or 0) >= recorded_ms
        )
        if noticed_since or handed_over_since or is_claimed(state.claim_expires_ms, now_ms=now_ms):
            return False
        self._tokens[place] = token
        self.states[place] = state._replace(
            handovers=min(connection.handovers + 1, MAX_HANDOVERS),
            recorded_ms=recorded_ms,
            claim_expires_ms=claim_expires_ms,
        )
        return True

    @aws_call("UpdateItem")
    def release(
        self, place: str, connection: Connection, *, noticed_at_ms: EpochMs | None, handovers: int
    ) -> None:
        """Give a claim back."""
        self._free(place, connection, handovers, noticed_at_ms)

    @aws_call("UpdateItem")
    def give_back(self, place: str, connection: Connection, *, token: str) -> None:
        """Undo a claim, if it still is this one."""
        if self._tokens.get(place) == token:
            self._free(place, connection, connection.handovers, None)

    @aws_call("UpdateItem")
    def note(self, place: str, *, active_ms: EpochMs, now_ms: EpochMs) -> bool:
        """Note when API Gateway last saw the connection active."""
        state = self.states.get(place, NO_STATE)
        noted_ms = state.gateway_active_ms
        if noted_ms is not None and active_ms <= noted_ms <= now_ms + MAX_CLOCK_LEAD_MS:
            return False
        self.states[place] = state._replace(gateway_active_ms=active_ms, handovers=0)
        return True

    def _free(
        self, place: str, connection: Connection, handovers: int, noticed_at_ms: EpochMs | None
    ) -> None:
        state = self.states.get(place, NO_STATE)
        self._tokens.pop(place, None)
        self.states[place] = state._replace(
            handovers=min(handovers, MAX_HANDOVERS),
            recorded_ms=connection.recorded_ms or EpochMs(0),
            claim_expires_ms=None,
            noticed_at_ms=noticed_at_ms or state.noticed_at_ms,
        )
