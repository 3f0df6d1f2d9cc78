"""Closes to the second: the queue of scheduled closes, and the function that carries them out."""

from collections.abc import Mapping, Sequence
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from hangup.cdk.alarms import MINUTE, alarm_above, waiting_alarm
from hangup.cdk.handler_function import HandlerFunction, allow
from hangup.cdk.queues import KEPT_LONGEST, closed_queue
from hangup.core.limits import MAX_QUEUE_BATCH
from hangup.core.pacing import close_functions
from hangup.core.timing import FUNCTION_TIMEOUT_S

# Lambda developer guide, "Creating and configuring an Amazon SQS event source mapping": hidden for
# six times the function's timeout, and at least five receives before a message is given up.
_HIDDEN_S: Final = 6 * FUNCTION_TIMEOUT_S
_RECEIVES: Final = 5

_BEHIND_S: Final = 300
_BEHIND_MINUTES: Final = 3
"""Far above the longest delay, 75 seconds: SQS may or may not count it in a message's age."""

_KEPT_HOURS: Final = 1
"""Longer than all receives take. By then, a later sweep has queued the close again."""


class ScheduledCloses(Construct):
    """The delay queue, the function behind it, the queue of failed closes, and three alarms.

    - ``environment``: what the close handler reads, without the queue's URL and the pace.
    - ``closes_per_second``: 0 to 1,000, 0 means unlimited. It decides how many functions close
      at once (``core.pacing``).
    - ``grants``: what the close handler may do besides receiving messages.
    - ``table_keys``: those of ``HandlerFunction``.
    """

    def __init__(  # noqa: PLR0913 - constructs take keywords, as CDK's own do
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: lambda_.Code,
        architecture: lambda_.Architecture,
        environment: Mapping[str, str],
        closes_per_second: int,
        grants: Sequence[iam.PolicyStatement],
        table_keys: Sequence[kms.IKey],
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, construct_id)
        functions = close_functions(closes_per_second)
        self.failed_closes = closed_queue(self, "FailedCloses", retention=KEPT_LONGEST)
        self.queue = closed_queue(
            self,
            "Queue",
            retention=cdk.Duration.hours(_KEPT_HOURS),
            visibility_timeout=cdk.Duration.seconds(_HIDDEN_S),
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.failed_closes, max_receive_count=_RECEIVES
            ),
        )
        handler = HandlerFunction(
            self,
            "CloseHandler",
            handler="close_handler",
            description="Close the WebSocket connections whose deadline has come",
            code=code,
            architecture=architecture,
            environment={
                **environment,
                "CLOSES_PER_SECOND": str(closes_per_second),
                "CLOSE_QUEUE_URL": self.queue.queue_url,
                "PACE_SHARED_BY": str(functions),
            },
            grants=[
                *grants,
                allow(
                    [
                        "sqs:ReceiveMessage",
                        "sqs:DeleteMessage",
                        "sqs:GetQueueAttributes",
                        "sqs:ChangeMessageVisibility",
                    ],
                    self.queue.queue_arn,
                ),
            ],
            table_keys=table_keys,
            timeout_s=FUNCTION_TIMEOUT_S,
            log_retention=log_retention,
        )
        self.function = handler.function
        lambda_.EventSourceMapping(
            self,
            "Messages",
            target=self.function,
            event_source_arn=self.queue.queue_arn,
            batch_size=MAX_QUEUE_BATCH,
            max_batching_window=cdk.Duration.seconds(0),
            report_batch_item_failures=True,
            # Not reserved concurrency: then Lambda throttles, and each throttled receive counts.
            max_concurrency=functions,
        )
        self.alarms = (
            handler.failure_alarm,
            waiting_alarm(
                self,
                "ClosesFailed",
                self.failed_closes,
                description=(
                    "Critical: scheduled closes failed in all receives and wait in the queue of"
                    " failed closes. Read the close function's log, fix the cause, then purge that"
                    " queue. No replay is needed: the sweeps find the idle connections again."
                ),
            ),
            alarm_above(
                self,
                "ClosesBehind",
                # An empty queue has no oldest message, and so no data.
                self.queue.metric_approximate_age_of_oldest_message(
                    statistic=cloudwatch.Stats.MAXIMUM, period=MINUTE
                ),
                bound=_BEHIND_S,
                minutes=_BEHIND_MINUTES,
                description=(
                    f"Critical: a scheduled close has waited in the queue for more than {_BEHIND_S}"
                    " seconds. Either the close function gets no messages (check its event source"
                    " mapping, and whether the account is throttled), or more closes are scheduled"
                    " than closes_per_second allows."
                ),
            ),
        )
