"""The cleanup, on fakes."""

from hangup.core.connection import DurationMs
from hangup.sessions.lifecycle import Cleanup
from hangup.testing import FakeAws

__all__ = ["CLAIM_MS", "cleanup_of"]

CLAIM_MS = DurationMs(60_000)


def cleanup_of(world: FakeAws) -> Cleanup:
    """Return what cleans up in this world."""
    return Cleanup(
        connections=world.connections,
        sessions=world.sessions,
        gateway=world.gateway,
        clock=world.clock,
        log=world.log,
        concurrent_map=map,
        claim_ms=CLAIM_MS,
    )
