"""A connection may have any label as its role; only two of them have a part in a session."""

from hypothesis import given
from hypothesis import strategies as st

from hangup.core.connection import Connection
from hangup.sessions.model import LeaveOutcome, Role, role_of
from tests.support.check_world import in_order

LABELS = st.none() | st.sampled_from(Role).map(str) | st.text(max_size=40)
OTHER_LABELS = LABELS.filter(lambda label: label not in list(Role))


@given(LABELS, st.none() | st.just("s1"))
def test_only_the_two_roles_with_a_session_are_in_one(
    label: str | None, session_id: str | None
) -> None:
    role = role_of(Connection(connection_id="c", session_id=session_id, role=label))
    expected = label if session_id is not None and label in ("speaker", "listener") else None
    assert role == expected


@given(OTHER_LABELS)
def test_a_connection_with_another_role_changes_no_session(label: str | None) -> None:
    world = in_order()
    before, records = world.session, set(world.connections.records)
    odd = Connection(connection_id="odd", session_id="s1", role=label)
    world.connections.put(odd)
    world.gateway.open("odd")
    assert world.check.find().violations == ()
    assert world.check.repairer.cleanup.disconnect("odd") is LeaveOutcome.LEFT
    assert world.session == before
    assert set(world.connections.records) == records
