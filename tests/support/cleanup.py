"""The cleanup, on fakes."""

from hangup.sessions.lifecycle import Cleanup
from hangup.testing import FakeAws

__all__ = ["cleanup_of"]


def cleanup_of(world: FakeAws) -> Cleanup:
    """Return the cleanup of this world."""
    return Cleanup(
        connections=world.connections,
        sessions=world.sessions,
        gateway=world.gateway,
        clock=world.clock,
        log=world.log,
        concurrent_map=map,
    )
