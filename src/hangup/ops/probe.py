"""One throw-away client of the user's API, followed from its connect to its removal.

1. It connects, and its record is looked for: API Gateway knows it by its user agent.
2. While it is silent it is sent a message. Whether API Gateway's account of it (``lastActiveAt``)
   moves says whether messages to a client count.
3. Where the deployed timeout closes, it stays silent until it is closed, and until its record is
   removed. It sends nothing in all that time.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.values import Item
from hangup.core.connection import Connection, ConnectionInfo, DurationMs, EpochMs
from hangup.core.guard import LastActiveCounts
from hangup.core.hand_over import HandOver
from hangup.core.outcomes import PostOutcome
from hangup.core.timing import SWEEP_INTERVAL_S
from hangup.errors import ProbeError
from hangup.ops.doctor_case import Case, Finding, aws, found, hangup, setting, well
from hangup.ops.log_tail import object_in

LONGEST_S: Final = 420
"""The longest idle timeout that a probe waits for. API Gateway itself closes a silent connection
after ten minutes, and a sweep may be late."""

_MOST_READ: Final = 100_000
_MOST_ASKED: Final = 500
_CLOCKS_MS: Final = 120_000
"""How far apart the clocks of this machine and of the ``$connect`` function may be."""

_PAUSE_MS: Final = DurationMs(4_000)
"""Between the connect and the message: API Gateway's times may be in whole seconds."""

_MOVED_MS: Final = 2_000
_ARRIVES_S: Final = 5.0
_LOOK_S: Final = 1.0
_LATE_S: Final = 2 * SWEEP_INTERVAL_S + 30
"""A sweep a minute, one that is late, and what it takes."""

MESSAGE: Final = {"type": "hangupProbe"}
"""What the client is sent."""

_NOTICE: Final = "connectionTimeout"
_CLOSES: Final = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The end of a connection, as the client sees it."""

    code: int
    reason: str


class ProbeClient(Protocol):
    """A WebSocket client that sends nothing."""

    def receive(self, within_s: float) -> str | Closed | None:
        """Return the next message, or the end; None where nothing came in time."""


@dataclass(slots=True, kw_only=True)
class Probe:
    """Follows one client. ``open_client`` raises ``ProbeError`` where it is refused.

    ``user_agent`` is what the client calls itself, new each time. ``progress`` hears what is being
    waited for.
    """

    case: Case
    open_client: Callable[[], AbstractContextManager[ProbeClient]]
    user_agent: str
    progress: Callable[[str], None]
    gateway: ManagementApiGateway = field(init=False)

    def __post_init__(self) -> None:
        """Find who is asked about the connection."""
        self.gateway = self.case.inspection.connections_at(self.case.endpoint)

    def findings(self) -> Iterator[Finding]:
        """Yield what is found on the way. Raise ``BackendError``."""
        case, began_ms = self.case, self.case.clock.now_ms()
        try:
            with self.open_client() as client:
                yield well("probe", "A client is connected")
                self.progress("looking for its record")
                record = self._record(began_ms)
                if record is None:
                    yield found(
                        "probe-unseen",
                        f"no item of {case['table.name']} is the connection of this client",
                        fix=hangup("init", "--api", case["api.id"], "--force"),
                    )
                    return
                item, connection = record
                yield well("probe-unseen", f"Its record is in {case['table.name']}")
                yield self._settled(client, connection)
                yield from self._followed(client, item, connection, began_ms)
        except ProbeError as error:
            yield found("probe-refused", str(error), fix=hangup("doctor", "--probe", "--help"))

    def _record(self, began_ms: EpochMs) -> tuple[Item, Connection] | None:
        """Return the client's item: of those that are new, the one with its user agent."""
        schema = self.case.deployment.table_schema
        read = asked = 0
        for page in self.case.account.pages(self.case["table.name"]):
            for item in filter(schema.matches, page):
                connection = schema.decode(item)
                connected_ms = connection.connected_at_ms
                if connected_ms is not None and connected_ms < began_ms - _CLOCKS_MS:
                    continue
                asked += 1
                answer = self.gateway.get_connection(connection.connection_id)
                if isinstance(answer, ConnectionInfo) and answer.user_agent == self.user_agent:
                    return item, connection
            read += len(page)
            if read >= _MOST_READ or asked >= _MOST_ASKED:
                break
        return None

    def _settled(self, client: ProbeClient, connection: Connection) -> Finding:
        """Settle whether messages to a client count as its activity."""
        self.progress("settling whether messages to a client count as its activity")
        before = self.gateway.get_connection(connection.connection_id)
        self.case.clock.sleep(_PAUSE_MS)
        outcome = self.gateway.post_to_connection(connection.connection_id, MESSAGE)
        arrived = client.receive(_ARRIVES_S)
        after = self.gateway.get_connection(connection.connection_id)
        if (
            outcome is not PostOutcome.POSTED
            or not isinstance(arrived, str)
            or not isinstance(before, ConnectionInfo)
            or not isinstance(after, ConnectionInfo)
        ):
            return found(
                "probe-no-message",
                "a message that API Gateway took did not arrive within"
                f" {_ARRIVES_S:.0f} s, or the connection ended",
                fix=hangup("doctor", "--probe"),
            )
        moved = after.last_active_ms - before.last_active_ms >= _MOVED_MS
        counts = LastActiveCounts.BOTH if moved else LastActiveCounts.CLIENT
        said = self.case.last_active_counts
        measured = f"lastActiveAt {'moved' if moved else 'stayed'} when a message was sent to it"
        if counts is LastActiveCounts.BOTH and not self.case.deployment.records_may_decide:
            return well("counts", f"Messages to a client count as its activity: {measured}")
        fix = setting("timeout.last_active_counts", counts)
        if said == LastActiveCounts.UNSETTLED:
            return found("counts-unsettled", measured, fix=fix)
        if said != counts:
            return found("counts-otherwise", f"{measured}, and the setting is {said}", fix=fix)
        return well("counts", f"last_active_counts is {counts}, which is right: {measured}")

    def _followed(
        self, client: ProbeClient, item: Item, connection: Connection, began_ms: EpochMs
    ) -> Iterator[Finding]:
        case, stack = self.case, self.case.stack
        timeout_s = self.case.policy.timeout_ms(connection.role) // 1000
        timeout_s += case["timeout.activity_resolution_seconds"]
        if stack is None or stack.parameters.get("Mode", _CLOSES) != _CLOSES:
            yield well("probe-closed", "Nothing closes it: the stack observes, or is not deployed")
            return
        if timeout_s > LONGEST_S:
            yield well(
                "probe-closed",
                f"It is not followed: its timeout of {timeout_s:,} s is above {LONGEST_S} s",
            )
            return
        # What was sent to it may have moved its deadline.
        last_ms = case.clock.now_ms() + (timeout_s + _LATE_S) * 1000
        noticed, end = False, None
        while end is None and case.clock.now_ms() < last_ms:
            silent_s = (case.clock.now_ms() - began_ms) // 1000
            self.progress(f"silent for {silent_s} s; its timeout is {timeout_s} s")
            heard = client.receive(_LOOK_S)
            if isinstance(heard, Closed):
                end = heard
            elif heard is not None:
                noticed = noticed or object_in(heard).get("type") == _NOTICE
        took_s = (case.clock.now_ms() - began_ms) // 1000
        if end is None:
            yield found(
                "probe-not-closed",
                f"it was silent for {took_s} s, its timeout is {timeout_s} s, and it is connected",
                fix=case.read_log,
            )
            return
        yield well("probe-closed", f"It was closed after {took_s} s, with code {end.code}")
        if not noticed:
            yield found("probe-not-noticed", f"no {_NOTICE} came before", fix=case.read_log)
        if case.hand_over is not HandOver.NEVER:
            yield self._cleaned(item)

    def _cleaned(self, item: Item) -> Finding:
        """Wait until the record is removed."""
        case = self.case
        key = {name: item[name] for name in case.deployment.table_schema.table_key.names}
        until_ms = case.clock.now_ms() + _LATE_S * 1000
        while case.inspection.item(case["table.name"], key) is not None:
            if case.clock.now_ms() > until_ms:
                function = case["api.disconnect_function"]
                fix = case.read_log
                if function is not None:
                    log = f"/aws/lambda/{function.split(':')[6]}"
                    fix = aws("logs", "tail", log, "--since", "1h")
                return found("probe-not-removed", f"after {_LATE_S} s it is still there", fix=fix)
            self.progress("closed; waiting until its record is removed")
            case.clock.sleep(DurationMs(round(_LOOK_S * 1000)))
        return well("probe-removed", "Its record is removed")
