"""Crowds that join and leave a session at once, with DynamoDB's conflicts, on virtual time.

A session is one item. A join or a leave that wrote it would conflict with every other one.
"""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pytest

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.retries import Calls, Deadline
from hangup.aws.sessions import DynamoDbSessions
from hangup.core.connection import Connection, DurationMs, JsonObject
from hangup.core.outcomes import CloseOutcome, PostOutcome
from hangup.errors import HangupError
from hangup.handlers.disconnect_handler import _LISTENERS_AT_ONCE
from hangup.sessions.lifecycle import Cleanup, join
from hangup.sessions.model import JoinRequest, Role
from hangup.testing import RecordingLog
from tests.support.contention import CONNECTIONS, SESSIONS, ContendedDynamoDb, VirtualTime

pytestmark = pytest.mark.slow

MOST_FUNCTIONS: Final = 60
"""Of an account's 1,000, and in the first minute of a burst."""
JOIN_LIMIT_MS: Final = 25_000
CLEANUP_LIMIT_MS: Final = 60_000
ALREADY_DELETED: Final = "ConditionalCheckFailedException"
"""The refusal of a delete that somebody else was faster with. It is no failure."""
PER_SECOND: Final = 500
"""API Gateway's limit of new connections."""


class Crowd:
    """Clients of one session, the functions that serve them, and what came of it."""

    def __init__(self) -> None:
        random.seed(1)  # the jitter of the pauses
        self.time = VirtualTime(seed=1)
        self.dynamodb = ContendedDynamoDb(self.time)
        self.gateway = _Gateway(self)
        self.log = RecordingLog()
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []
        self.running = 0
        self.most_running = 0

    def join(self, connection_id: str, role: Role = Role.LISTENER) -> None:
        """Let a client connect: run the connect function, and open the socket if it lets it in."""

        def connect(calls: Calls) -> str:
            request = JoinRequest(session_id="s1", role=role)
            outcome = join(
                request,
                connection_id,
                sessions=self._sessions(calls),
                now_ms=self.time.now_ms(),
            )
            if outcome.name == "JOINED":
                self.gateway.open_ids.add(connection_id)
            return outcome.name

        self._function(connect, limit_ms=JOIN_LIMIT_MS)

    def leave(self, connection_id: str) -> None:
        """Let a client close its socket: API Gateway runs the disconnect function."""
        self.gateway.open_ids.discard(connection_id)
        self.disconnect(connection_id)

    def disconnect(self, connection_id: str) -> None:
        self._function(
            lambda calls: self._cleanup(calls).disconnect(connection_id).name,
            limit_ms=CLEANUP_LIMIT_MS,
        )

    def talk(self, connection_id: str) -> None:
        """Let a client send a message."""

        def record(calls: Calls) -> str:
            connections = DynamoDbConnections(self._client, calls, CONNECTIONS)
            now_ms = self.time.now_ms()
            before = connections.record_activity(
                connection_id, now_ms=now_ms, resolution_ms=DurationMs(0)
            )
            assert isinstance(before, Connection)
            closed = self._cleanup(calls).close_if_ended(before, now_ms=now_ms)
            return "CLOSED" if closed else "ANSWERED"

        self._function(record, limit_ms=JOIN_LIMIT_MS)

    def at_a_rate(self, act: Callable[[str], None], ids: list[str], *, after_ms: int = 0) -> None:
        """Do something about each, one after the other at API Gateway's rate."""
        for number, connection_id in enumerate(ids):
            at_ms = after_ms + number * 1_000 / PER_SECOND
            self.time.start(partial(act, connection_id), after_ms=at_ms)

    def with_listeners(self, number: int) -> list[str]:
        """Start the session, and let so many listeners join; return their ids."""
        self.time.start(lambda: self.join("speaker", Role.SPEAKER))
        self.time.run()
        ids = [f"l{listener}" for listener in range(number)]
        self.at_a_rate(self.join, ids)
        self.time.run()
        return ids

    def assert_nobody_failed(self) -> None:
        assert self.failures == []
        assert self.log.events("error") == []
        assert self.most_running < MOST_FUNCTIONS

    def assert_nobody_was_refused(self) -> None:
        """Neither by a conflict nor for want of capacity."""
        assert self.dynamodb.refused.keys() <= {ALREADY_DELETED}

    @property
    def on_record(self) -> set[str]:
        return {item["connectionId"]["S"] for item in self.dynamodb.records()}

    def _function(self, act: Callable[[Calls], str], *, limit_ms: int) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        deadline = Deadline(self.time)
        deadline.start(limit_ms)
        self.time.sleep_between(2, 6)
        try:
            self.outcomes[act(Calls(self.time, deadline))] += 1
        except HangupError as error:
            self.failures.append(str(error))
        finally:
            self.running -= 1

    @property
    def _client(self) -> Any:
        return self.dynamodb

    def _sessions(self, calls: Calls) -> DynamoDbSessions:
        return DynamoDbSessions(
            self._client, calls, connections_table=CONNECTIONS, sessions_table=SESSIONS
        )

    def _cleanup(self, calls: Calls) -> Cleanup:
        return Cleanup(
            connections=DynamoDbConnections(self._client, calls, CONNECTIONS),
            sessions=self._sessions(calls),
            gateway=self.gateway,  # type: ignore[arg-type]
            clock=self.time,
            log=self.log,
            concurrent_map=self.time.side_by_side(_LISTENERS_AT_ONCE),
        )


class _Gateway:
    """API Gateway: each socket that is closed runs the disconnect function a moment later."""

    def __init__(self, crowd: Crowd) -> None:
        self.open_ids: set[str] = set()
        self._crowd = crowd

    def post_to_connection(self, connection_id: str, _message: JsonObject) -> PostOutcome:
        self._crowd.time.sleep_between(4, 10)
        return PostOutcome.POSTED if connection_id in self.open_ids else PostOutcome.GONE

    def delete_connection(self, connection_id: str) -> CloseOutcome:
        time = self._crowd.time
        time.sleep_between(4, 10)
        if connection_id not in self.open_ids:
            return CloseOutcome.ALREADY_GONE
        self.open_ids.remove(connection_id)
        time.start(
            lambda: self._crowd.disconnect(connection_id), after_ms=time.random.uniform(10, 60)
        )
        return CloseOutcome.CLOSED


CROWDS = [1_000, 5_000]


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


@pytest.mark.parametrize("listeners", CROWDS)
def test_listeners_that_join_at_once_all_get_in(crowd: Crowd, listeners: int) -> None:
    crowd.with_listeners(listeners)
    crowd.assert_nobody_failed()
    assert crowd.outcomes == {"JOINED": 1 + listeners}
    assert len(crowd.on_record) == 1 + listeners
    assert not crowd.dynamodb.refused


@pytest.mark.parametrize("listeners", CROWDS)
def test_listeners_that_leave_at_once_are_all_removed(crowd: Crowd, listeners: int) -> None:
    ids = crowd.with_listeners(listeners)
    crowd.at_a_rate(crowd.leave, ids)
    crowd.time.run()
    crowd.assert_nobody_failed()
    crowd.assert_nobody_was_refused()
    assert crowd.outcomes["LEFT"] == listeners
    assert crowd.on_record == {"speaker"}


@pytest.mark.parametrize("listeners", CROWDS)
def test_a_session_that_ends_closes_all_its_listeners(crowd: Crowd, listeners: int) -> None:
    crowd.with_listeners(listeners)
    crowd.time.start(lambda: crowd.leave("speaker"))
    crowd.time.run()
    crowd.assert_nobody_failed()
    crowd.assert_nobody_was_refused()
    assert crowd.outcomes["SESSION_ENDED"] == 1
    assert crowd.on_record == crowd.gateway.open_ids == set()


@pytest.mark.parametrize("listeners", [500, 1_000])
def test_a_speaker_that_leaves_amid_its_listeners_ends_the_session(
    crowd: Crowd, listeners: int
) -> None:
    ids = crowd.with_listeners(listeners)
    crowd.at_a_rate(crowd.leave, ids)
    crowd.time.start(lambda: crowd.leave("speaker"), after_ms=listeners)
    crowd.time.run()
    crowd.assert_nobody_failed()
    crowd.assert_nobody_was_refused()
    assert crowd.outcomes["SESSION_ENDED"] == 1
    assert crowd.on_record == crowd.gateway.open_ids == set()


def test_nobody_stays_in_a_session_that_ends_while_a_crowd_joins(crowd: Crowd) -> None:
    ids = crowd.with_listeners(500)
    late = [f"late{number}" for number in range(500)]
    crowd.at_a_rate(crowd.join, late)
    crowd.time.start(lambda: crowd.leave("speaker"), after_ms=500)
    crowd.time.run()
    crowd.assert_nobody_failed()
    assert crowd.outcomes["JOINED"] + crowd.outcomes["SESSION_NOT_ACTIVE"] == 1 + len(ids + late)
    assert crowd.outcomes["SESSION_NOT_ACTIVE"] > 100
    # Whoever the index listed too late is closed by a message a minute later.
    missed = crowd.on_record
    assert missed == crowd.gateway.open_ids
    crowd.at_a_rate(crowd.talk, sorted(missed), after_ms=60_000)
    crowd.time.run()
    assert crowd.outcomes["CLOSED"] == len(missed)
    assert crowd.on_record == crowd.gateway.open_ids == set()


def test_a_conflict_is_what_it_is_on_aws(crowd: Crowd) -> None:
    """The simulator refuses what writes to an item that a transaction holds."""
    crowd.time.start(lambda: crowd.join("speaker", Role.SPEAKER))
    for number in range(20):
        crowd.time.start(partial(crowd.join, f"other{number}", Role.SPEAKER))
    crowd.time.run()
    assert crowd.outcomes["JOINED"] == 1
    assert crowd.dynamodb.refused["TransactionCanceledException"] >= 20


def test_an_index_key_takes_a_thousand_writes_a_second(crowd: Crowd) -> None:
    """The simulator throttles what is beyond; the adapters try it again."""
    crowd.with_listeners(0)
    for number in range(1_500):
        crowd.time.start(partial(crowd.join, f"l{number}"))
    crowd.time.run()
    assert crowd.dynamodb.refused["ProvisionedThroughputExceededException"] > 500
    assert crowd.time.monotonic_ms() > 1_000
