"""What the planner assumes, each value with its source.

*measured*: by the project, on arm64 or x86-64 at one vCPU, and divided by the share that the
function has. *derived*: from a documented limit. *assumed*: no source.
"""

from typing import Final

from hangup.core.timing import (
    FUNCTION_TIMEOUT_S,
    LOOK_AHEAD_S,
    REPORT_MS,
    SCAN_MARGIN_MS,
    STOP_MARGIN_MS,
    SWEEP_INTERVAL_S,
)

MONTH_S: Final = 30 * 86_400
"""A month is 30 days."""

READ_UNIT_BYTES: Final = 4_096
"""DynamoDB developer guide, read and write operations; an eventually consistent read is half."""

WRITE_UNIT_BYTES: Final = 1_024
"""DynamoDB developer guide, read and write operations. A write whose condition is false is charged
like one that takes effect: coalescing activity writes saves none of them."""

PAGE_BYTES: Final = 1_048_576
"""What one page of a Scan reads at most. DynamoDB API reference, Scan."""

MAX_CONNECTIONS: Final = 1_000_000_000
"""What the planner takes at most."""

MAX_RECORD_BYTES: Final = 409_600
"""DynamoDB developer guide, quotas: largest item."""

MESSAGES_PER_HEARTBEAT: Final = 2
"""The heartbeat and its answer. Each is billed as one message up to 32 KB. API Gateway pricing."""

MESSAGE_TIER: Final = 1_000_000_000
"""Messages a month above which the lower price holds. API Gateway pricing."""

MEMORY_GB: Final = 0.25
VCPU_SHARE: Final = 256 / 1_769
"""Of one vCPU, at 256 MB. Lambda developer guide: 1,769 MB have one."""

HEARTBEAT_S: Final = 0.015
"""Billed duration of the heartbeat function. Assumed; docs/explanation/costs.md has the same."""

HEARTBEAT_LOG_BYTES: Final = 265
"""Log of one heartbeat at ``INFO``: Lambda's own three lines, since the handler's is at ``DEBUG``.
Counted in the form that the Lambda developer guide shows, for 256 MB, line ends included: START 71
bytes, END 52, REPORT 142. The handler's line would add some 255, measured."""

CLEANUP_S: Final = 0.05
"""Billed duration of the connect and of the disconnect function. Assumed, as in the docs."""

CLEANUP_LOG_BYTES: Final = 520
"""Log of one join or cleanup at ``INFO``: the handler's line, measured, and Lambda's own three."""

PAGE_LATENCY_MS: Final = 50.0
"""Answer time of one page. Derived: a page is 128 read units, and a partition gives 3,000 a second
(DynamoDB developer guide, partition key design), so pages come every 43 ms at best."""

PAGE_CPU_MS: Final = 1.2
"""CPU of our side for one page, on the safe side. Measured: 0.5 to 0.6 ms, from 0.07 to 0.09 s for
a million records in 143 pages (``growth_check_cpu_1m`` of ``benchmarks/results.json``)."""

CLOSE_CPU_MS: Final = 1.2
"""CPU of one close: question, claim, notice, delete, hand-over, on the safe side. Measured with TLS
at the default pace: ``close_paced_cpu_ms`` of ``benchmarks/results.json``. Where closes are not
paced more answers come at once, and it is a third to a half of that (``close_cpu_ms``)."""

QUESTION_CPU_MS: Final = 0.25
"""CPU of one question where API Gateway's account is the source of activity, and of the write that
follows. Measured with TLS: 0.24 at Lambda's share of a CPU, 28,060 in one sweep, and 0.29 at its
pace where nothing limits it (``question_cpu_ms`` of ``benchmarks/results.json``)."""

QUESTION_LATENCY_MS: Final = 20.0
"""Time of the two calls. Assumed: 10 ms each."""

CLOSE_LATENCY_MS: Final = 50.0
"""Time of one close's five calls, one after the other. Assumed: 10 ms each."""

SCAN_BUDGET_S: Final = FUNCTION_TIMEOUT_S - (SCAN_MARGIN_MS + REPORT_MS) / 1000
"""After this a sweep reads no page: 44 s."""

SWEEP_BUDGET_S: Final = FUNCTION_TIMEOUT_S - (STOP_MARGIN_MS + REPORT_MS) / 1000
"""After this no close starts: 49 s."""

METRICS: Final = 23
"""Custom metrics of an inline sweep at most: those of ``SweepReport.metrics`` where no count is 0.
Each role and reason of ``ConnectionTimeout`` is a metric of its own."""

PRECISE_METRICS: Final = METRICS + 2
"""The same with ``precise``: ``ClosesScheduled`` and ``QueueFailures`` come on top. The close
function's are those of an inline sweep."""

ALARMS: Final = 10
"""Alarms of the construct."""

PRECISE_ALARMS: Final = ALARMS + 4
"""The same with ``precise``."""

PRECISE_BUDGET_S: Final = float(LOOK_AHEAD_S - SWEEP_INTERVAL_S)
"""A connection that a sweep queues later than this after its start may be past its deadline."""

QUEUE_CPU_MS: Final = 0.2
"""CPU of queueing one connection, on the safe side. Measured: 0.03 for its tenth of a
SendMessageBatch through libcurl, with TLS; reading its record comes on top. At 256 MB that is 725
connections a second. The requests do not limit it: 16 are under way at once, of ten each."""

DELIVERY_S: Final = 0.06
"""From the end of a message's delay until the close function looks at its clock: receipt, start of
the function, look at the record. Assumed."""

EMPTY_RECEIVES_PER_SECOND: Final = 5 / 20
"""Receives of an empty queue. Five receivers (Lambda developer guide, Amazon SQS event source
mappings: it starts with five), each waiting 20 s (SQS developer guide, long polling). That there
stay five, and that they wait so long, is assumed."""

CLOSE_LOG_BYTES: Final = 1_500
"""Log of one invocation of the close function at ``INFO``, with its metrics. Measured: 1,452 for
one message, 1,531 for two."""
