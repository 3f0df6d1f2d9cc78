"""A record whose role is neither speaker nor listener is in no session."""

import pytest

from hangup.core.connection import Connection
from hangup.errors import InvalidRequest
from hangup.sessions.lifecycle import join
from hangup.sessions.model import JoinRequest, LeaveOutcome, role_of
from hangup.sessions.requests import parse_join
from hangup.testing import START_MS
from tests.support.check_world import World, in_order

MODERATOR = Connection(
    connection_id="m",
    session_id="s1",
    role="moderator",
    connected_at_ms=START_MS,
    last_activity_ms=START_MS,
)


@pytest.fixture
def world() -> World:
    """Return a session with a speaker, two listeners and a moderator."""
    world = in_order()
    world.connections.put(MODERATOR)
    world.gateway.open("m")
    return world


def test_has_no_role_in_the_session() -> None:
    assert role_of(MODERATOR) is None


def test_its_cleanup_removes_the_record_and_changes_no_session(world: World) -> None:
    before = world.session
    outcome = world.check.repairer.cleanup.disconnect("m")
    assert outcome is LeaveOutcome.LEFT
    assert world.session == before
    assert set(world.connections.records) == {"speaker", "l1", "l2"}
    assert world.gateway.sent == {}


def test_is_not_closed_when_the_session_ends(world: World) -> None:
    world.leave("speaker")
    assert not world.session.is_active
    assert set(world.connections.records) == {"m"}
    assert world.gateway.open_ids == {"m"}


def test_is_neither_counted_nor_taken_for_the_speaker_by_a_check(world: World) -> None:
    assert world.check.find().violations == ()
    world.change_session(speaker_connection_id="m")
    world.lose_record("speaker")
    world.vanish("m")
    assert world.repair().violations == ()
    assert not world.session.is_active
    assert world.connections.records == {}


def test_a_ghost_with_this_role_is_repaired_and_the_session_is_unchanged(world: World) -> None:
    before = world.session
    world.vanish("m")
    assert world.repair().violations == ()
    assert world.session == before
    assert set(world.connections.records) == {"speaker", "l1", "l2"}


def test_cannot_join(world: World) -> None:
    before, records = world.session, set(world.connections.records)
    # mypy refuses the role too: without its error, the ignore would be one.
    request = JoinRequest(session_id="s1", role="moderator")  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="unreachable"):
        join(request, "m2", sessions=world.sessions, now_ms=world.clock.now_ms())
    assert world.session == before
    assert set(world.connections.records) == records
    with pytest.raises(InvalidRequest, match="role must be 'speaker' or 'listener'"):
        parse_join({"sessionId": "s1", "role": "moderator"})
