"""What the planner takes for granted, each with where it comes from.

*measured*: by the project, on arm64 or x86-64 at one vCPU, and divided by the share that the
function has. *derived*: from a documented limit. *assumed*: nobody has said; an option changes it.
"""

from typing import Final

from hangup.core import limits
from hangup.core import timing as core_due

MONTH_S: Final = 30 * 86_400
"""A month is 30 days."""

READ_UNIT_BYTES: Final = 4_096
"""DynamoDB developer guide, read and write operations; an eventually consistent read is half."""

WRITE_UNIT_BYTES: Final = 1_024
"""DynamoDB developer guide, read and write operations. A write whose condition is false is charged
like one that takes effect: coalescing activity writes saves none of them."""

PAGE_BYTES: Final = 1_048_576
"""What one page of a Scan reads at most. DynamoDB API reference, Scan."""

MESSAGE_UNIT_BYTES: Final = 32_768
"""What one billed message holds. API Gateway pricing."""

MESSAGE_TIER: Final = 1_000_000_000
"""Messages a month after which the lower price holds. API Gateway pricing."""

MEMORY_GB: Final = 0.25
VCPU_SHARE: Final = 256 / 1_769
"""Of one vCPU, at 256 MB. Lambda developer guide: 1,769 MB have one."""

HEARTBEAT_S: Final = 0.015
"""Billed duration of the heartbeat function. Assumed; the README's cost table has the same."""

HEARTBEAT_LOG_BYTES: Final = 520
"""Log of one invocation at ``INFO``. Measured; the README's cost table has the same."""

CLEANUP_S: Final = 0.05
"""Billed duration of the connect and of the disconnect function. Assumed, as in the README."""

PAGE_LATENCY_MS: Final = 50.0
"""Answer time of one page. Derived: a page is 128 read units, and a partition gives 3,000 a second
(DynamoDB developer guide, partition key design), so pages come every 43 ms at best."""

PAGE_CPU_MS: Final = 1.2
"""CPU of our side for one page, on the safe side. Measured: 0.5 to 0.6 ms, from 0.07 to 0.09 s for
a million records of which ten are idle (``growth_check_cpu_1m`` of ``benchmarks/results.json``).
Those have 137 bytes and come in 143 pages of 7,000, so a page is nearly as full as it can be."""

CLOSE_CPU_MS: Final = 1.0
"""CPU of one close: claim, notice, delete, hand-over, on the safe side. Measured with TLS at the
default pace: ``close_paced_cpu_ms`` of ``benchmarks/results.json``. Where closes are not paced more
answers come at once, and it is a third to a half of that (``close_cpu_ms``)."""

CLOSE_LATENCY_MS: Final = 40.0
"""Time of one close's four calls, one after the other. Assumed: 10 ms each."""

CONCURRENCY: Final = 64
"""Closes in flight. ``hangup.aws.clients.CLOSES_IN_FLIGHT``."""

QUEUE_CONCURRENCY: Final = 16
"""Requests to the queue in flight: each is in its first wait. ``hangup.aws.http.loop``."""

BATCH_SIZE: Final = 1_000
"""Idle connections gathered before some are closed. ``hangup.idle.sweep.BATCH_SIZE``."""

INVOCATION_S: Final = 60
"""Time limit of the timeout function."""

SCAN_BUDGET_S: Final = 44.0
"""After this no page is read. ``hangup.core.shards.SCAN_MARGIN_MS`` before the time limit,
less ``hangup.aws.retries.REPORT_MS``."""

SWEEP_BUDGET_S: Final = 49.0
"""After this no close is started. ``hangup.idle.sweep.STOP_MARGIN_MS`` before the time limit,
less ``hangup.aws.retries.REPORT_MS``."""

METRICS: Final = 16
"""Custom metrics of an inline sweep at most: those of ``SweepReport.metrics`` where no count is 0.
Each role and reason of ``ConnectionTimeout`` is a metric of its own."""

PRECISE_METRICS: Final = 2
"""Custom metrics more with ``precise``: ``ClosesScheduled`` and ``QueueFailures``. The close function's
are those of an inline sweep."""

ALARMS: Final = 5
"""Alarms of the construct."""

PRECISE_ALARMS: Final = 4
"""Alarms more with ``precise``."""

MAX_SEGMENTS: Final = limits.MAX_SEGMENTS
"""Sweeps side by side at most: the bound of ``segments`` in ``hangup.cdk``."""

LOOK_AHEAD_S: Final = float(core_due.LOOK_AHEAD_S)
"""What falls due within this is queued. ``hangup.core.timing.LOOK_AHEAD_S``."""

PRECISE_INTERVAL_S: Final = 60
"""The look-ahead is made for sweeps that come this often, or more often."""

PRECISE_BUDGET_S: Final = LOOK_AHEAD_S - PRECISE_INTERVAL_S
"""A connection that a sweep queues later than this after its start may be past its deadline."""

QUEUE_BATCH: Final = limits.MAX_QUEUE_BATCH
"""Messages of one request, and of one invocation, at most. Ten of ours are far below the 64 KB up
to which a request is billed as one."""

QUEUE_CPU_MS: Final = 0.2
"""CPU of queueing one connection, on the safe side. Measured: 0.03 for its tenth of a
SendMessageBatch through libcurl, with TLS; reading its record comes on top."""

QUEUE_LATENCY_MS: Final = 15.0
"""Time of one request to SQS. Assumed."""

DELIVERY_S: Final = 0.06
"""From the end of a message's delay until the close function looks at its clock: receipt, start of
the function, look at the record. Assumed: no source says."""

ROUNDED_S: Final = 1.0
"""Delays are whole seconds, so a message comes up to this early. ``hangup.core.scheduled_close.delay_s``."""

POLLERS: Final = 5
"""Receivers of an event source mapping. Lambda developer guide, Amazon SQS event source mappings:
it starts with five; assumed to stay so at our rates."""

POLL_S: Final = 20
"""Longest wait of a receive, so five receivers of an empty queue make 15 requests a minute. SQS
developer guide, long polling; that Lambda waits so long is assumed."""

CLOSE_LOG_BYTES: Final = 1_500
"""Log of one invocation of the close function at ``INFO``, with its metrics. Measured: 1,452 for
one message, 1,531 for two."""

OWN_IDLE_TIMEOUT_S: Final = 600
"""API Gateway's own idle timeout. API Gateway developer guide, WebSocket quotas."""

MAX_CONNECTION_S: Final = 7_200
"""The longest life of a connection. API Gateway developer guide, WebSocket quotas."""

TTL_S: Final = 2 * 86_400
"""DynamoDB TTL removes "typically within" this. DynamoDB developer guide, TTL."""

SCHEDULER_PRECISION_S: Final = 60
"""EventBridge Scheduler invokes within a minute. EventBridge Scheduler user guide."""

TRANSITIONS_PER_LOOP: Final = 3
"""Wait, GetItem, Choice: one round of a Step Functions loop. Assumed: nothing shorter works."""
