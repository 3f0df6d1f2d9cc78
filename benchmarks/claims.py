"""Would a close cost less if claims were made in batches? The same closes both ways, in turns.

    python -m benchmarks.claims [--rounds N] [--closes N]

A close of Hangup's claims with an UpdateItem of its own. Here it is measured beside the same close
whose claim came before it, in a BatchExecuteStatement with 24 others: at the default pace, and with
the pace lifted. The stub counts the work of both. Printed, not written down: what was decided, and
by which figures, is in docs/decisions/0001-libcurl-for-closes.md.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from os import urandom
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.endpoints import Endpoints, WorkNotDoneError
from benchmarks.measures import close_ms
from benchmarks.results import spread
from benchmarks.trial import Side
from hangup.aws.http.services import DirectDynamoDb, json_operation
from hangup.aws.runtime import Invocation, clock, deadline
from hangup.aws.values import number, string
from hangup.config import CLOSES_PER_SECOND
from hangup.core.connection import Connection, EpochMs
from hangup.core.limits import MAX_CLOCK_LEAD_MS
from hangup.core.report import CloseStatus
from hangup.handlers.timeout_handler import _sweep as deployed_sweep
from hangup.idle.guard import Terms

__all__ = ["BATCH", "BatchedClaims", "close_handler", "close_in_batches_handler"]

BATCH: Final = 25
"""Statements of one request at most (DynamoDB API reference, BatchExecuteStatement)."""

_CLAIM: Final = (
    'UPDATE "{table}" SET claimExpiresAt = ? SET claimToken = ? SET handovers = ?'
    " WHERE connectionId = ? AND lastActivityTime <= ?"
    " AND NOT (claimExpiresAt BETWEEN ? AND ?) AND NOT (noticedAt BETWEEN ? AND ?)"
)
"""``DynamoDbConnections.claim`` of a connection that has an activity time and no notice."""


class BatchedClaims(DirectDynamoDb):
    """Claims of up to 25 connections at once, on a table of connections."""

    batch_execute_statement = json_operation("BatchExecuteStatement")

    def claim(
        self, table: str, connections: Sequence[Connection], *, now_ms: EpochMs, until_ms: EpochMs
    ) -> list[Connection]:
        """Return those whose claim was taken; raise ``WorkNotDoneError`` if one failed."""
        statements = [
            {
                "Statement": _CLAIM.format(table=table),
                "Parameters": [
                    number(until_ms),
                    string(urandom(16).hex()),
                    number(connection.handovers + 1),
                    string(connection.connection_id),
                    number(connection.last_activity_ms or now_ms),
                    number(now_ms + 1),
                    number(now_ms + MAX_CLOCK_LEAD_MS),
                    number(connection.last_activity_ms or now_ms),
                    number(now_ms + MAX_CLOCK_LEAD_MS),
                ],
            }
            for connection in connections
        ]
        answer = self.batch_execute_statement(Statements=statements)
        codes = [response.get("Error", {}).get("Code") for response in answer["Responses"]]
        failed = [code for code in codes if code not in {None, "ConditionalCheckFailed"}]
        if failed:
            raise WorkNotDoneError(f"{len(failed)} claims of a batch failed: {failed[0]}")
        return [
            connection for connection, code in zip(connections, codes, strict=True) if code is None
        ]


class _AlreadyClaimed:
    """The call of a ``ConnectionsRepository`` that a close makes, if all goes well: made."""

    def claim(self, _connection: Connection, **_times: EpochMs) -> bool:
        """Say that it is claimed."""
        return True


def close_handler(_event: object, context: Invocation) -> dict[str, int]:
    """Close all that is idle, each with its own claim; return ``checked`` and ``closed``."""
    return _close(context, batched=False)


def close_in_batches_handler(_event: object, context: Invocation) -> dict[str, int]:
    """Close all that is idle, claimed 25 at a time; return ``checked`` and ``closed``."""
    return _close(context, batched=True)


def _close(context: Invocation, *, batched: bool) -> dict[str, int]:
    deployed = deployed_sweep()
    deadline.start(context.get_remaining_time_in_millis())
    now_ms = clock.now_ms()
    pages = deployed.closer.connections.scan_candidates(
        cutoff_ms=deployed.policy.cutoff_ms(now_ms), now_ms=now_ms, segment=0, total_segments=1
    )
    idle = [connection for page in pages for connection in page.candidates]
    closer = deployed.closer
    if batched:
        connections: Any = _AlreadyClaimed()
        closer = replace(closer, connections=connections)
    in_turn = _claiming(idle, deployed.closer.claim_ms) if batched else idle
    outcomes = deployed.concurrency.map(
        partial(
            closer.close_idle_connection,
            terms=Terms(silence_ms=deployed.policy.idle_timeout_ms, recording_is_well=True),
            correlation_id="benchmark",
        ),
        (connection for connection in in_turn if closer.pacer.wait()),
    )
    closed = sum(outcome.status is CloseStatus.CLOSED for outcome in outcomes)
    return {"checked": len(idle), "closed": closed}


def _claiming(connections: Sequence[Connection], claim_ms: int) -> Iterator[Connection]:
    """Yield those that are claimed, claiming the next 25 when those before have begun to close."""
    claims = BatchedClaims()
    for first in range(0, len(connections), BATCH):
        now_ms = clock.now_ms()
        yield from claims.claim(
            "connections",
            connections[first : first + BATCH],
            now_ms=now_ms,
            until_ms=EpochMs(now_ms + claim_ms),
        )


# -- the command -------------------------------------------------------------------------------

_WAYS: Final[dict[Side, str]] = {
    "closes": "each claimed by itself",
    "closes-in-batches": f"claimed {BATCH} at a time",
}
_PACES: Final = {
    "pace lifted": 0,
    f"{CLOSES_PER_SECOND.default} a second": CLOSES_PER_SECOND.default,
}


def main() -> None:
    """Measure both ways and print what a close took."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claims",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="how often each way is measured: 5"
    )
    parser.add_argument(
        "--closes", type=int, default=3_000, metavar="N", help="connections of a run: 3000"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as certificates, Endpoints.start(Path(certificates)) as aws:
        for pace, per_second in _PACES.items():
            measured: dict[Side, list[float]] = {side: [] for side in _WAYS}
            for round_number in range(arguments.rounds):
                print(f"{pace}: round {round_number + 1}", file=sys.stderr, flush=True)
                for side, samples in measured.items():
                    samples.append(close_ms(aws, side, arguments.closes, per_second=per_second))
            for side, way in _WAYS.items():
                print(
                    f"{pace:<13}  {way:<22}  {median(measured[side]):.3f} ms of CPU a close"
                    f"  ({spread(measured[side])})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
