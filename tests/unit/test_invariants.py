"""What a record or a session violates, given what was read of it."""

from dataclasses import replace

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.sessions.invariants import (
    ExpiredClaim,
    Ghost,
    LostListeners,
    OrphanedSession,
    StoredConnection,
    UnreadableSession,
    Violation,
    WrongCount,
    is_orphaned,
    violations_of,
)
from hangup.sessions.model import Session
from hangup.testing import START_MS

STORED = StoredConnection(connection=Connection(connection_id="c"), claim_expires_ms=START_MS)
SESSION = Session(
    session_id="s",
    is_active=False,
    speaker_connection_id="c",
    listener_count=1,
    started_at_ms=START_MS,
    ended_at_ms=START_MS,
)


class TestRules:
    @pytest.mark.parametrize(("after_ms", "expired"), [(120_000, False), (120_001, True)])
    def test_a_claim_is_expired_once_its_length_and_a_minute_have_passed(
        self, after_ms: int, *, expired: bool
    ) -> None:
        violations = violations_of(STORED, is_gone=False, now_ms=EpochMs(START_MS + after_ms))
        assert bool(list(violations)) is expired

    def test_a_ghost_is_nothing_else(self) -> None:
        violations = violations_of(STORED, is_gone=True, now_ms=EpochMs(START_MS + 10**9))
        assert list(violations) == [Ghost(STORED.connection)]

    @pytest.mark.parametrize(("after_ms", "orphaned"), [(60_000, False), (60_001, True)])
    def test_an_ended_session_has_as_long_as_a_cleanup_to_send_its_listeners_home(
        self, after_ms: int, *, orphaned: bool
    ) -> None:
        now_ms = EpochMs(START_MS + after_ms)
        assert orphaned is is_orphaned(
            SESSION, speaker_on_record=True, has_listeners=True, now_ms=now_ms
        )
        assert not is_orphaned(SESSION, speaker_on_record=True, has_listeners=False, now_ms=now_ms)
        assert is_orphaned(SESSION, speaker_on_record=False, has_listeners=True, now_ms=now_ms)

    def test_a_session_that_ended_at_an_unknown_time_has_no_time_left(self) -> None:
        session = replace(SESSION, ended_at_ms=None)
        assert is_orphaned(session, speaker_on_record=True, has_listeners=True, now_ms=START_MS)


@pytest.mark.parametrize(
    ("violation", "words"),
    [
        (
            Ghost(Connection(connection_id="c", session_id="s", role="listener")),
            "connection c is gone, but has a record (role listener, session s)",
        ),
        (
            ExpiredClaim("c", START_MS, DurationMs(125_999)),
            "connection c has a claim that expired 125 s ago",
        ),
        (LostListeners("s"), "session s does not exist, but has listeners on record"),
        (OrphanedSession(SESSION), "session s has ended, but has listeners on record"),
        (
            OrphanedSession(replace(SESSION, is_active=True)),
            "session s is active, but its speaker c has no record",
        ),
        (WrongCount("s", 7, 1), "session s has a listenerCount of 7, expected 1"),
        (UnreadableSession("s"), "the record of session s has a missing or invalid attribute"),
    ],
)
def test_says_what_is_wrong(violation: Violation, words: str) -> None:
    assert str(violation) == words
