"""AWS's hard limits and the bounds derived from them, each with its source."""

from typing import Final

MAX_CONNECTION_S: Final = 7_200
"""Longest life of a WebSocket connection, seconds. API Gateway developer guide, quotas."""

MAX_MESSAGE_BYTES: Final = 131_072
"""Largest WebSocket message, bytes (128 KB). API Gateway developer guide, quotas."""

MAX_FRAME_BYTES: Final = 32_768
"""Largest WebSocket frame, bytes (32 KB); a larger message comes in several frames. API Gateway
developer guide, quotas."""

MAX_ROLES: Final = 10
"""Most roles that a deployment names. A bound of our own: all variables of a function have 4 KB."""

MAX_CLOSERS: Final = 1_000
"""Most processes that may be closing at once. A bound of our own: an account's default quota of
concurrent executions (Lambda developer guide, quotas)."""

MAX_SCAN_SEGMENTS: Final = 1_000_000
"""Largest ``TotalSegments`` of a parallel Scan. DynamoDB API reference, Scan."""

MAX_QUEUE_DELAY_S: Final = 900
"""Longest ``DelaySeconds`` of a message. SQS API reference, SendMessage."""

MAX_QUEUE_BATCH: Final = 10
"""Most messages sent, or received, at once. SQS API reference, SendMessageBatch."""

MAX_RULE_TARGETS: Final = 5
"""Most targets of a rule. EventBridge user guide, quotas."""

MAX_SHARDS: Final = 20
"""Most sweeps side by side. A bound of our own: four rules full of targets. An account's default
quota of new connections (500 a second, each for two hours at most) makes 3.6 million live ones, far
from what that many sweeps can read."""

SHARDS_OF_TEMPLATE: Final = (1, 2, 4, 8, 16)
"""How many sweeps side by side the template of the timeout alone can have. Each number of targets
needs a condition there, so they are few."""

LOG_RETENTION_DAYS: Final = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096),
    *(1827, 2192, 2557, 2922, 3288, 3653),
)
"""How long CloudWatch Logs can keep log lines, days. API reference, PutRetentionPolicy."""

MAX_CONNECTION_ID_LENGTH: Final = 128
"""Longest connection id accepted, characters. API Gateway's are 13 to 16 characters of base64
(observed; no source bounds them), so this only keeps nonsense out."""

MIN_PLAUSIBLE_EPOCH_MS: Final = 1_000_000_000_000
"""2001-09-09. A smaller number of "milliseconds" is epoch *seconds* written by mistake: taken at
its word it would make every live connection look half a century idle."""

MAX_PLAUSIBLE_EPOCH_MS: Final = 10**15
"""The year 33658, exclusive: a larger number of "milliseconds" is another unit."""

MAX_CLOCK_LEAD_MS: Final = 86_400_000
"""A day. No clock is off by more. A last activity further in the future is in another unit, and
would keep a connection for ever."""

MAX_SCHEMA_BYTES: Final = 2_048
"""Longest JSON of a table schema. All variables of a function have 4 KB at most (Lambda developer
guide, quotas); the others need up to half of that."""

MAX_HANDOVERS: Final = 1_000
"""Counted hand-overs of one record. A bound of our own: an hour apart, they take six weeks."""
