"""Every setting in ``hangup.toml``: one table, from which it is read, written and documented.

A setting with a ``parameter`` is one of the template of the timeout alone. Those of ``[table]``
that have none make up the table's schema. What a value may be comes from ``hangup.config`` and
``hangup.aws.schema_checks``, which check what the functions get.
"""

from collections.abc import Mapping
from typing import Final

from hangup.config import (
    ACTIVITY,
    ACTIVITY_RESOLUTION_SECONDS,
    API_GATEWAY_ENDPOINT,
    CLOSES_PER_SECOND,
    CONNECTION_IDLE_TIMEOUT_SECONDS,
    HAND_OVER,
    LAST_ACTIVE_COUNTS,
    LOG_LEVEL,
    LOG_LEVELS,
    METRIC_ROLES,
    MODE,
)
from hangup.core.guard import Activity, LastActiveCounts
from hangup.core.hand_over import HandOver
from hangup.core.limits import LOG_RETENTION_DAYS, MAX_ROLES, SHARDS_OF_TEMPLATE
from hangup.core.texts import Text
from hangup.ops.kinds import Flag, Labelled, Listed, OneOf, Setting, plain, plain_text
from hangup.ops.table_settings import TABLE_SETTINGS
from hangup.variables import ROLE

_ROLE: Final = Text(
    "the name of a role (1 to 64 letters, digits, dots, hyphens or underscores)", ROLE
)

SECTIONS: Final[Mapping[str, str]] = {
    "stack": "The CloudFormation stack of the timeout, beside yours.",
    "api": "Your WebSocket API.",
    "table": "Your table of connections: where it is, and what its attributes mean.",
    "table.names": "What Hangup adds to a record. Change a name that your records use already.",
    "timeout": "When connections are closed, and how.",
    "operation": "Metrics, alarms and logs.",
    "code": "The code of the functions.",
}
"""The tables of the file, in its order, and what to say of each."""

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        "stack.name",
        plain_text(
            "the name of a stack (1 to 128 letters, digits and hyphens, a letter first)",
            "[A-Za-z][A-Za-z0-9-]{0,127}",
        ),
        "name of the stack",
        is_required=True,
        example="my-app-hangup",
    ),
    Setting(
        "stack.region",
        plain_text(
            "the name of an AWS Region, such as eu-central-1", "[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}"
        ),
        "AWS Region; without it, that of your AWS configuration",
        example="eu-central-1",
    ),
    Setting(
        "stack.profile",
        plain_text("the name of a profile of the AWS configuration", "[!-~][ -~]{0,127}"),
        "profile of your AWS configuration; without it, AWS_PROFILE and the like",
        example="my-profile",
    ),
    Setting(
        "stack.deployment",
        plain_text("1 to 248 letters, digits or ._/#:-", "[A-Za-z0-9._/#:-]{1,248}"),
        "keeps the metrics of deployments apart; without it, the stack's name",
        parameter="Deployment",
        example="my-app",
    ),
    Setting(
        "api.id",
        plain_text("the id of a WebSocket API (letters and digits)", "[a-z0-9]{1,32}"),
        "id of the WebSocket API",
        parameter="ApiId",
        is_required=True,
        example="a1b2c3d4e5",
    ),
    Setting(
        "api.stage",
        plain_text(
            "the name of a stage (1 to 128 letters, digits, hyphens or underscores)",
            "[A-Za-z0-9_-]{1,128}",
        ),
        "name of its stage",
        parameter="StageName",
        is_required=True,
        example="prod",
    ),
    Setting(
        "api.endpoint",
        plain(API_GATEWAY_ENDPOINT.accepted),
        "@connections URL of the stage, where it is not API Gateway's own: a custom domain",
        parameter="ManagementEndpoint",
        example="https://ws.example.com/prod",
    ),
    Setting(
        "api.disconnect_function",
        plain_text(
            "the ARN of a Lambda function",
            r"arn:[a-z0-9-]+:lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9_-]{1,64}"
            r"(:[A-Za-z0-9_$-]{1,128})?",
        ),
        "ARN of the $disconnect function; needed where hand_over is always or if_left",
        parameter="DisconnectFunctionArn",
        example="arn:aws:lambda:eu-central-1:123456789012:function:disconnect",
    ),
    *TABLE_SETTINGS,
    Setting(
        "timeout.idle_seconds",
        plain(CONNECTION_IDLE_TIMEOUT_SECONDS.accepted),
        "close a connection that has been silent for longer",
        parameter="IdleTimeoutSeconds",
        default=CONNECTION_IDLE_TIMEOUT_SECONDS.default,
    ),
    Setting(
        "timeout.roles",
        Labelled(
            f"a table of up to {MAX_ROLES} roles with seconds",
            _ROLE,
            plain(CONNECTION_IDLE_TIMEOUT_SECONDS.accepted),
            at_most=MAX_ROLES,
        ),
        "other timeouts, by the client's role",
        parameter="TimeoutsByRole",
        example={"speaker": 300, "listener": 60},
    ),
    Setting(
        "timeout.activity",
        plain(ACTIVITY.accepted, tuple(Activity)),
        "recorded: your functions write last_activity; gateway: API Gateway's account, no code",
        parameter="Activity",
        default=ACTIVITY.default,
    ),
    Setting(
        "timeout.activity_resolution_seconds",
        plain(ACTIVITY_RESOLUTION_SECONDS.accepted),
        "your functions write an activity at most once in this time",
        parameter="ActivityResolutionSeconds",
        default=ACTIVITY_RESOLUTION_SECONDS.default,
    ),
    Setting(
        "timeout.last_active_counts",
        plain(LAST_ACTIVE_COUNTS.accepted, tuple(LastActiveCounts)),
        "whose messages API Gateway counts as activity; both: the records decide",
        parameter="LastActiveCounts",
        default=LAST_ACTIVE_COUNTS.default,
    ),
    Setting(
        "timeout.hand_over",
        plain(HAND_OVER.accepted, tuple(HandOver)),
        "what becomes of the record: your $disconnect function is called (always), is called where"
        " the record is left (if_left), the record is deleted (delete), or stays (never)",
        parameter="HandOver",
        default=HAND_OVER.default,
    ),
    Setting(
        "timeout.closes_per_second",
        plain(CLOSES_PER_SECOND.accepted),
        "pace of the closes; 0 means unlimited",
        parameter="ClosesPerSecond",
        default=CLOSES_PER_SECOND.default,
    ),
    Setting(
        "timeout.precise",
        Flag(),
        "close to the second, by a queue, instead of to the minute",
        parameter="Precise",
        default=False,
    ),
    Setting(
        "timeout.shards",
        OneOf("a number of sweeps", SHARDS_OF_TEMPLATE),
        "sweeps side by side, each of a part of the table",
        parameter="Shards",
        default=1,
    ),
    Setting(
        "timeout.state_table",
        Flag(),
        "keep what Hangup writes in a table of its own: for a table with a stream",
        parameter="StateTable",
        default=False,
    ),
    Setting(
        "timeout.mode",
        plain(MODE.accepted, ("close", "observe")),
        "observe: decide and report, close nothing",
        parameter="Mode",
        default=MODE.default,
    ),
    Setting(
        "operation.metric_roles",
        Listed(
            f"1 to {MAX_ROLES} names of roles",
            plain(_ROLE),
            at_least=1,
            at_most=MAX_ROLES,
        ),
        "roles that the metric ConnectionTimeout names; any other is other",
        parameter="MetricRoles",
        default=METRIC_ROLES.default.split(","),
    ),
    Setting(
        "operation.alarm_topic",
        plain_text(
            "the ARN of an SNS topic",
            r"arn:[a-z0-9-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}",
        ),
        "ARN of the SNS topic that alarms are sent to",
        parameter="AlarmTopicArn",
        example="arn:aws:sns:eu-central-1:123456789012:alarms",
    ),
    Setting(
        "operation.dashboard",
        Flag(),
        "make a CloudWatch dashboard",
        parameter="Dashboard",
        default=False,
    ),
    Setting(
        "operation.log_level",
        plain(Text(str(LOG_LEVEL.accepted), "|".join(LOG_LEVELS)), LOG_LEVELS),
        "lowest level of log lines",
        parameter="LogLevel",
        default=LOG_LEVEL.default,
    ),
    Setting(
        "operation.log_retention_days",
        OneOf("a number of days", LOG_RETENTION_DAYS),
        "days that log lines are kept",
        parameter="LogRetentionDays",
        default=30,
    ),
    Setting(
        "operation.reserve_concurrency",
        Flag(),
        "reserve concurrent executions for the sweep; false where the account cannot",
        parameter="ReserveConcurrency",
        default=True,
    ),
    Setting(
        "code.architecture",
        plain(Text("arm64 or x86_64", "arm64|x86_64"), ("arm64", "x86_64")),
        "processor of the functions",
        parameter="Architecture",
        default="arm64",
    ),
    Setting(
        "code.bucket",
        plain_text("the name of an S3 bucket", "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
        "your own S3 bucket for the code",
        parameter="CodeBucket",
        example="my-bucket",
    ),
    Setting(
        "code.key",
        plain_text("the key of an object in S3 (1 to 1024 bytes)", "[!-~]{1,1024}"),
        "key of the code's zip in that bucket",
        parameter="CodeKey",
        example="hangup/timeout.zip",
    ),
)
"""Every setting, in the order of the file."""

BY_KEY: Final[Mapping[str, Setting]] = {one.key: one for one in SETTINGS}
