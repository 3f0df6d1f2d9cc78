"""A sweep near the end of its invocation, whose calls hang, with the retries that adapters have."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import example, given
from hypothesis import strategies as st

from hangup.aws.retries import Calls, Deadline
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.pacing import Pace
from hangup.core.timing import ATTEMPT_MS, BATCH_SIZE, REPORT_MS, SCAN_MARGIN_MS, STOP_MARGIN_MS
from hangup.errors import SweepFailed
from hangup.sessions.lifecycle import join
from hangup.sessions.model import JoinRequest, LeaveOutcome, Role
from hangup.testing import FakeClock, InMemoryConnections, Sequential
from tests.support.cleanup import cleanup_of
from tests.support.idle_world import World

LAMBDA_MS = 60_000


class Attempt(Enum):
    """What one attempt of a call meets. What hangs does so until its time-out."""

    ANSWERED = auto()
    ANSWERED_AT_LAST = auto()
    HANGS = auto()
    HANGS_AFTER_TAKING_EFFECT = auto()
    THROTTLED = auto()
    REFUSED = auto()


QUICK = frozenset({Attempt.ANSWERED, Attempt.THROTTLED, Attempt.REFUSED})
ERRORS = {Attempt.THROTTLED: ("ThrottlingException", 429), Attempt.REFUSED: ("AccessDenied", 403)}
STEPS = ("question", "claim", "notice", "close", "hand-over")
ATTEMPTS = st.lists(st.sampled_from(Attempt), max_size=40)


class _SideBySide(Sequential):
    """All items at the same time, each from the moment at which it can begin."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> list[Any]:
        clock = self._clock
        results, end = [], (clock.ms, clock.uptime_ms)
        for item in items:
            began = (clock.ms, clock.uptime_ms)
            results.append(function(item))
            end = max(end, (clock.ms, clock.uptime_ms))
            clock.ms, clock.uptime_ms = began
        clock.ms, clock.uptime_ms = max(end, (clock.ms, clock.uptime_ms))
        return results


class SlowWorld(World):
    """A world whose sweep makes its calls through ``Calls``; each attempt takes time."""

    page_size = 100

    def __init__(self) -> None:
        super().__init__()
        self.connections = _RememberedClaims(self.faults, page_size=self.page_size)
        self.sessions._connections = self.connections
        self.deadline = Deadline(self.clock)
        self.attempts: Iterator[Attempt] = iter([])
        self.scan_ms = 0
        self.outcomes: Counter[LeaveOutcome] = Counter()
        calls = Calls(self.clock, self.deadline)
        connections: Any = _Adapter(self.connections, calls)
        gateway: Any = _Adapter(self.gateway, calls)
        functions: Any = _Adapter(self.functions, calls)
        self.closer = replace(
            self.closer,
            connections=connections,
            gateway=gateway,
            functions=functions,
            confirmer=replace(self.closer.confirmer, gateway=gateway),
        )
        self.sweep = self.make_sweep(
            closer=self.closer, concurrency=_SideBySide(self.clock), total_segments=2
        )
        self.cleanup = cleanup_of(self)
        self.join("speaker", Role.SPEAKER)

    def join(self, connection_id: str, role: Role = Role.LISTENER) -> None:
        """Let somebody join who then says nothing for long."""
        began_ms = EpochMs(self.clock.ms - 121_000)
        request = JoinRequest(session_id="s1", role=role)
        join(request, connection_id, sessions=self.sessions, now_ms=began_ms)
        self.gateway.open(connection_id)

    def minute(self, attempts: Iterable[Attempt] = (), *, left_ms: int = LAMBDA_MS) -> None:
        """Sweep with so much time left, at the minute; what is handed over is cleaned up."""
        at_ms, self.metrics.counts = self.clock.ms, []
        self.connections.record_activity(
            "speaker", now_ms=self.clock.now_ms(), resolution_ms=DurationMs(0)
        )
        self.clock.sleep(DurationMs(LAMBDA_MS - left_ms))
        self.attempts = iter(attempts)
        self.faults.before, self.faults.after = self._before, self._after
        self.deadline.start(left_ms)
        with suppress(SweepFailed):
            self.sweep.check_and_close_idle_connections(
                time_left_ms=self.deadline.left_ms, correlation_id="tick"
            )
        self.faults.before = self.faults.after = lambda _operation, _key: None
        assert self.clock.ms <= at_ms + LAMBDA_MS - REPORT_MS
        assert [c.name for c in self.metrics.counts].count("ConnectionsChecked") == 1
        for event in self.functions.events:
            context = event["requestContext"]
            assert isinstance(context, dict)
            self.outcomes[self.cleanup.disconnect(context["connectionId"])] += 1
        self.functions.events.clear()
        self.clock.ms = at_ms + 60_000

    def told(self, connection_id: str) -> int:
        """Return how often it was sent the notice, or the log has why not."""
        failed = [
            fields
            for _, event, fields in self.log.lines
            if event == "notice failed" and fields["connectionId"] == connection_id
        ]
        return len(self.gateway.sent.get(connection_id, [])) + len(failed)

    def _before(self, operation: str, _key: str) -> None:
        if operation == "Scan":
            self.clock.sleep(DurationMs(self.scan_ms))
            return
        attempt = self.attempt = next(self.attempts, Attempt.ANSWERED)
        self.clock.sleep(DurationMs(10 if attempt in QUICK else ATTEMPT_MS))
        if attempt is Attempt.HANGS:
            raise ReadTimeoutError(endpoint_url="https://aws")
        if attempt in ERRORS:
            code, status = ERRORS[attempt]
            answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(answer, operation)

    def _after(self, operation: str, _key: str) -> None:
        if operation != "Scan" and self.attempt is Attempt.HANGS_AFTER_TAKING_EFFECT:
            raise ReadTimeoutError(endpoint_url="https://aws")


class SmallPages(SlowWorld):
    """The same with a record a page: what is closed first is closed while others are read."""

    page_size = 1


class _Adapter:
    """One of the fakes behind ``Calls``, as often as the adapter of that port makes each call."""

    _LIMITS: dict[str, dict[str, Any]] = {  # noqa: RUF012 - nobody changes it
        "post_to_connection": {"max_attempts": 2, "repeat_unanswered": False},
        "get_connection": {"max_attempts": 2},
    }

    def __init__(self, fake: object, calls: Calls) -> None:
        self._fake = fake
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            method = partial(getattr(self._fake, name), *args, **kwargs)
            return self._calls(name, method, **self._LIMITS.get(name, {}))

        return call


class _RememberedClaims(InMemoryConnections):
    """An attempt that took effect is known by the next one, as by the token of the adapter."""

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        claimed = super().claim(connection, now_ms=now_ms, claim_expires_ms=claim_expires_ms)
        record = self.records.get(connection.connection_id)
        return claimed or (record is not None and record.claim_expires_ms == claim_expires_ms)


@given(
    attempts=ATTEMPTS,
    listeners=st.integers(1, 8),
    left_ms=st.integers(STOP_MARGIN_MS, SCAN_MARGIN_MS + 4_000),
    scan_ms=st.integers(0, 4_000),
    pace=st.sampled_from([Pace(200), Pace(1), Pace(1, shared_by=20)]),
    batch_size=st.sampled_from([2, BATCH_SIZE]),
)
@example([Attempt.HANGS] * 40, 8, SCAN_MARGIN_MS, 2_500, Pace(200), 2)
@example([Attempt.HANGS_AFTER_TAKING_EFFECT] * 40, 8, SCAN_MARGIN_MS, 2_500, Pace(200), 2)
@example([Attempt.ANSWERED_AT_LAST] * 40, 8, SCAN_MARGIN_MS, 2_500, Pace(200), BATCH_SIZE)
def test_the_report_is_out_in_time_and_later_sweeps_do_the_rest_once(
    attempts: list[Attempt],
    listeners: int,
    left_ms: int,
    scan_ms: int,
    pace: Pace,
    batch_size: int,
) -> None:
    world = SlowWorld() if batch_size == BATCH_SIZE else SmallPages()
    world.closer.pacer.pace = pace
    ids = [f"c{number}" for number in range(listeners)]
    for connection_id in ids:
        world.join(connection_id)
    world.scan_ms = scan_ms
    with patch("hangup.idle.scan.BATCH_SIZE", batch_size):
        world.minute(attempts, left_ms=REPORT_MS + left_ms)
    world.scan_ms, world.closer.pacer.pace = 0, Pace(200)
    # A claim that was not given back holds until after the first of them.
    for _ in range(2):
        world.minute()
    assert world.gateway.open_ids == {"speaker"}
    assert list(world.connections.records) == ["speaker"]
    assert world.outcomes[LeaveOutcome.LEFT] == listeners
    for connection_id in ids:
        assert world.told(connection_id) >= 1
        assert len(world.gateway.sent.get(connection_id, [])) <= 2


@pytest.mark.parametrize("hangs", [Attempt.HANGS, Attempt.HANGS_AFTER_TAKING_EFFECT])
@pytest.mark.parametrize("step", STEPS)
def test_what_hangs_in_a_close_that_began_last_is_left_where_it_stands(
    step: str, hangs: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hangup.aws.retries.random.randint", lambda _low, high: high)
    world = SlowWorld()
    world.join("c1")
    # The speaker, who talks, is the control group.
    before = 1 + STEPS.index(step)
    # A sample and two pages, after which there is just the time that a close needs to be begun.
    world.scan_ms = SCAN_MARGIN_MS - STOP_MARGIN_MS - 10
    world.minute(
        [Attempt.ANSWERED] * before + [hangs],
        left_ms=REPORT_MS + SCAN_MARGIN_MS + 2 * world.scan_ms,
    )
    is_asked = step != "question"
    assert world.metrics.total("CloseFailures") == int(is_asked)
    assert world.metrics.total("ConnectionsUnconfirmed") == int(not is_asked)
    released = "claim not released" not in world.log.events("warning")
    assert released is (step in ("question", "claim"))
    for _ in range(2):
        world.minute()
    assert world.gateway.open_ids == {"speaker"}
    assert list(world.connections.records) == ["speaker"]
    assert world.outcomes[LeaveOutcome.LEFT] == 1
