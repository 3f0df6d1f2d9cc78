"""Closes to the second: the queue of due connections, and the function that closes them."""

from collections.abc import Mapping, Sequence
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from hangup.cdk.handler_function import HandlerFunction, allow
from hangup.cdk.queues import KEPT_LONGEST, closed_queue, waiting_alarm
from hangup.core.limits import MAX_QUEUE_BATCH
from hangup.core.pacing import close_functions

__all__ = ["DueCloses"]

_TIMEOUT_S: Final = 60
"""No longer than a claim holds (``handlers.closing.CLAIM_MS``)."""

# Lambda developer guide, "Creating and configuring an Amazon SQS event source mapping": six times
# the function's timeout, and at least five receives before a message is given up.
_HIDDEN_S: Final = 6 * _TIMEOUT_S
_RECEIVES: Final = 5

_BEHIND_S: Final = 300
_BEHIND_MINUTES: Final = 3
"""Far above the longest delay, which SQS may count or not: a sweep looks 75 seconds ahead."""

_KEPT_HOURS: Final = 1
"""Longer than all receives take. What is older, a later sweep has queued again."""


class DueCloses(Construct):
    """The delay queue, the function behind it, the queue of failed closes, and three alarms.

    ``environment`` is what the close handler reads besides the queue's URL, the pace and its share
    of that; ``grants`` what it may do besides receiving. ``closes_per_second`` (0 to 1,000, 0 is no
    limit) says how many functions close at once.
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
            timeout_s=_TIMEOUT_S,
            log_retention=log_retention,
        )
        self.function = handler.function
        lambda_.EventSourceMapping(
            self,
            "Due",
            target=self.function,
            event_source_arn=self.queue.queue_arn,
            batch_size=MAX_QUEUE_BATCH,
            max_batching_window=cdk.Duration.seconds(0),
            report_batch_item_failures=True,
            # Not reserved concurrency: SQS would go on delivering, and count what is throttled.
            max_concurrency=functions,
        )
        self.alarms = (handler.failure_alarm, self._failed(), self._behind())

    def _failed(self) -> cloudwatch.Alarm:
        return waiting_alarm(
            self,
            "ClosesFailed",
            self.failed_closes,
            description=(
                "Critical: messages about due connections could not be dealt with, and wait in the"
                " queue of failed closes. The close function's log says why. The sweeps go on"
                " finding what is idle: when the cause is mended, purge that queue."
            ),
        )

    def _behind(self) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            "ClosesBehind",
            alarm_description=(
                f"Critical: a due connection has waited in the queue for more than {_BEHIND_S}"
                " seconds. The close function gets no messages (is its event source mapping"
                " enabled? is the account throttled?), or more fall due than closes_per_second"
                " allows."
            ),
            metric=self.queue.metric_approximate_age_of_oldest_message(
                statistic=cloudwatch.Stats.MAXIMUM, period=cdk.Duration.minutes(1)
            ),
            threshold=_BEHIND_S,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=_BEHIND_MINUTES,
            # An empty queue has no oldest message.
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
