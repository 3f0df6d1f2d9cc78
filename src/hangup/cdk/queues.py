"""The queues of this project."""

import aws_cdk as cdk
from aws_cdk import aws_sqs as sqs
from constructs import Construct

KEPT_LONGEST = cdk.Duration.days(14)
"""The longest that SQS allows: time to find the cause, and to replay."""


def closed_queue(
    scope: Construct,
    construct_id: str,
    *,
    retention: cdk.Duration,
    visibility_timeout: cdk.Duration | None = None,
    dead_letter_queue: sqs.DeadLetterQueue | None = None,
) -> sqs.Queue:
    """Return a queue that is encrypted, refuses plain HTTP, and is deleted with its stack."""
    return sqs.Queue(
        scope,
        construct_id,
        retention_period=retention,
        visibility_timeout=visibility_timeout,
        dead_letter_queue=dead_letter_queue,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )
