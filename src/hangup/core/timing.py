"""How long things take and how many run at once: the one home of these numbers.

A function has 60 s. The last 3 s are kept for its report. No call starts with less than 4 s left
before that, no close with less than 8 s, and no page is read with less than 13 s.
"""

from typing import Final

from hangup.core.connection import DurationMs

FUNCTION_TIMEOUT_S: Final = 60
"""The time limit of the functions that close or clean up, seconds."""

CLAIM_MS: Final = DurationMs(FUNCTION_TIMEOUT_S * 1000)
"""How long a claim holds. A function that took it cannot be at work for longer."""

LONGEST_CLAIM_MS: Final = DurationMs(3_600_000)
"""How long the claim holds of a record whose cleanup keeps failing: doubled from one hand-over to
the next up to an hour, so that a disconnect handler that is broken is not called in vain."""

SWEEP_INTERVAL_S: Final = 60
"""Between two sweeps: the shortest interval of an EventBridge ``rate()``."""

_LOOK_AHEAD_MARGIN_S: Final = 15
"""For a tick that comes some seconds late and a table that takes some to read. Each second more
queues more connections whose client is merely between two heartbeats."""

LOOK_AHEAD_S: Final = SWEEP_INTERVAL_S + _LOOK_AHEAD_MARGIN_S
LOOK_AHEAD_MS: Final = DurationMs(LOOK_AHEAD_S * 1000)
"""How far a sweep with a queue looks ahead. The idle timeout must be at least this long."""

ROTATION_MS: Final = SWEEP_INTERVAL_S * 1000
"""How long sweeps start at the same segment."""

CONNECT_S: Final = 1
READ_S: Final = 3
"""Time-outs of a socket. A page of a scan, the slowest call, takes DynamoDB well below a second."""

REST_S: Final = 5
"""A connection that rested for longer is not used again. Servers close what rests, and a function
that was frozen in between does not hear of it; a sweep's calls follow one another much faster."""

ATTEMPT_MS: Final = DurationMs((CONNECT_S + READ_S) * 1000)
"""The longest that one attempt of a call takes."""

REPORT_MS: Final = DurationMs(3_000)
"""Kept of an invocation for its end: metrics, log lines, the answer."""

STOP_MARGIN_MS: Final = DurationMs(2 * ATTEMPT_MS)
"""With less than this left no close starts. So a close has four seconds until its last call starts.
It takes some 60 ms, and a second or two if calls are throttled and tried again. A close that runs
into a time-out later is left where it stands, as if the sweep had crashed there. Room for five
time-outs would cost every sweep a quarter of its closes."""

SCAN_MARGIN_MS: Final = DurationMs(STOP_MARGIN_MS + 5_000)
"""With less than this left no page is read: there must be time to close what is in it. At the
default pace a batch takes these five seconds. Where two batches wait, the next sweep does the rest.
"""

BATCH_SIZE: Final = 1_000
"""Connections gathered before some are closed. Whole pages are gathered, so there may be more: some
28,000 in four full pages. At most two batches are in memory, one being closed and one being
gathered: 15 MB where all of a large table is idle."""

SEGMENTS_AT_ONCE: Final = 4
"""Segments that a sweep reads side by side. An answer takes some 50 ms, and 8 ms of Lambda's 0.15
of a CPU. A new on-demand table gives 12,000 read units a second, as four partitions do (DynamoDB
developer guide, on-demand capacity)."""

CLOSES_IN_FLIGHT: Final = 64
"""Closes under way at once. Nearly all of the time they wait for answers: at 75 ms for the five
calls of a close that is 850 closes a second. More cost less CPU each, since more answers come at
once; but where CPU is short, each then waits longer between its claim and its close."""

THREADS: Final = 8
"""Calls under way at once through botocore. More threads only wait for the interpreter's lock."""
