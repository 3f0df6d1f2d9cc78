"""What a record or a session violates, given what was read of it."""

from dataclasses import replace

import pytest

from hangup.core.connection import (
    Connection,
    DurationMs,
    EpochMs,
    InvalidTime,
    RecordedTime,
)
from hangup.sessions.invariants import (
    ExpiredClaim,
    Ghost,
    LostListeners,
    OrphanedSession,
    StoredConnection,
    UnreadableSession,
    Violation,
    is_lost,
    violations_of,
)
from hangup.sessions.model import Session
from hangup.testing import START_MS

STORED = StoredConnection(
    connection=Connection(connection_id="c", connected_at_ms=START_MS), claim_expires_ms=START_MS
)
SESSION = Session(
    session_id="s",
    is_active=False,
    speaker_connection_id="c",
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

    def test_a_record_without_a_time_may_be_anything_and_is_no_ghost(self) -> None:
        item = StoredConnection(connection=Connection(connection_id="c"), claim_expires_ms=None)
        assert list(violations_of(item, is_gone=True, now_ms=START_MS)) == []

    @pytest.mark.parametrize("is_gone", [True, False])
    def test_a_time_in_another_unit_is_named_and_never_removed(self, *, is_gone: bool) -> None:
        connection = Connection(
            connection_id="c", malformed=(InvalidTime(RecordedTime.CONNECTED_AT, "1700000000"),)
        )
        item = StoredConnection(connection=connection, claim_expires_ms=None)
        (violation,) = violations_of(item, is_gone=is_gone, now_ms=START_MS)
        assert str(violation) == (
            "connection c has a connect time of '1700000000'"
            " (expected epoch ms; it looks like seconds)"
        )

    def test_a_time_days_ahead_is_named_too(self) -> None:
        ahead = Connection(connection_id="c", last_activity_ms=EpochMs(START_MS + 3 * 86_400_000))
        item = StoredConnection(connection=ahead, claim_expires_ms=None)
        (violation,) = violations_of(item, is_gone=False, now_ms=START_MS)
        assert "milliseconds in the future" in str(violation)

    @pytest.mark.parametrize(("after_ms", "lost"), [(60_000, False), (60_001, True)])
    @pytest.mark.parametrize(
        ("session", "run"),
        [(SESSION, "c"), (replace(SESSION, is_active=True, ended_at_ms=None), "earlier")],
    )
    def test_a_run_that_ended_has_as_long_as_a_cleanup_to_send_its_listeners_home(
        self, after_ms: int, session: Session, run: str, *, lost: bool
    ) -> None:
        now_ms = EpochMs(START_MS + after_ms)
        assert lost is is_lost(session, run, speaker_on_record=True, now_ms=now_ms)
        assert is_lost(session, run, speaker_on_record=False, now_ms=now_ms)

    def test_a_session_that_ended_at_an_unknown_time_has_no_time_left(self) -> None:
        session = replace(SESSION, ended_at_ms=None)
        assert is_lost(session, "c", speaker_on_record=True, now_ms=START_MS)

    def test_listeners_of_an_active_run_are_not_lost(self) -> None:
        session = replace(SESSION, is_active=True)
        for run in ("c", None):
            assert not is_lost(session, run, speaker_on_record=False, now_ms=START_MS)

    def test_listeners_without_a_session_are_lost(self) -> None:
        assert is_lost(None, "c", speaker_on_record=True, now_ms=START_MS)


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
        (
            LostListeners("s"),
            "session s has listeners on record, but the run that they joined has ended",
        ),
        (OrphanedSession(SESSION), "session s is active, but its speaker c has no record"),
        (UnreadableSession("s"), "the record of session s has a missing or invalid attribute"),
    ],
)
def test_says_what_is_wrong(violation: Violation, words: str) -> None:
    assert str(violation) == words
