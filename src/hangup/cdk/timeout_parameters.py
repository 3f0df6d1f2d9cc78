"""What the template of the timeout alone asks whoever deploys it: parameters, choices, rules.

``PARAMETERS`` is the table. The template's parameters, their groups and the functions' environment
follow from it. To add a setting that is nothing but a variable of the
functions, add a row that names the variable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from hangup.cdk.parameters import FROM_0, FROM_1, UP_TO_1000
from hangup.config import (
    ACTIVITY,
    ACTIVITY_RESOLUTION_SECONDS,
    CLOSES_PER_SECOND,
    CONNECTION_IDLE_TIMEOUT_SECONDS,
    HAND_OVER,
    IDLE_TIMEOUTS_BY_ROLE,
    LAST_ACTIVE_COUNTS,
    LOG_LEVEL,
    LOG_LEVELS,
    METRIC_ROLES,
    MODE,
    TABLE_SCHEMA,
)
from hangup.core.guard import Activity, LastActiveCounts
from hangup.core.hand_over import HandOver
from hangup.core.limits import (
    LOG_RETENTION_DAYS,
    MAX_ROLES,
    MAX_SCHEMA_BYTES,
    SHARDS_OF_TEMPLATE,
)
from hangup.core.pacing import close_functions
from hangup.core.timing import LOOK_AHEAD_S
from hangup.variables import ROLE, Variable

Json = dict[str, Any]

CLOSE_FUNCTIONS: Final = tuple(map(str, range(4, 17)))
"""What ``core.pacing`` chooses for any pace."""

NO_VALUE: Final = {"Ref": "AWS::NoValue"}

_TRUE_OR_FALSE: Final = ("false", "true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of the template. All are text: CloudFormation accepts 90.5 as a ``Number``.

    Without a ``default`` it is required. The value is one of ``allowed``, or matches ``pattern``
    and is what ``must_be`` says. ``variable`` is the variable of the functions that has it as it
    is.
    """

    name: str
    about: str
    default: str | None = None
    allowed: Sequence[str] = ()
    pattern: str = ""
    must_be: str = ""
    variable: Variable[Any] | None = None

    def as_json(self) -> Json:
        """Return the parameter as the template has it."""
        bounds = (
            {"AllowedPattern": self.pattern, "ConstraintDescription": self.must_be}
            if self.pattern
            else {"AllowedValues": list(self.allowed)}
        )
        default = {} if self.default is None else {"Default": self.default}
        return {"Type": "String", "Description": self.about, **default, **bounds}


def _of_variable(name: str, variable: Variable[Any], about: str, **bounds: Any) -> Parameter:  # noqa: ANN401 - fields of Parameter
    default = "" if variable.default is None else str(variable.default)
    return Parameter(
        name=name,
        about=about,
        **{"default": default, "must_be": f"must be {variable.accepted}", **bounds},
        variable=variable,
    )


def _optional(pattern: str) -> str:
    return f"^({pattern})?$"


GROUPS: Final[Mapping[str, Sequence[Parameter]]] = {
    "The WebSocket API": (
        Parameter(
            name="ApiId",
            about="Id of the WebSocket API, such as a1b2c3d4e5.",
            pattern="^[A-Za-z0-9]{1,64}$",
            must_be="must be the id of an API: letters and digits",
        ),
        Parameter(
            name="StageName",
            about="Name of its stage.",
            pattern="^[A-Za-z0-9_-]{1,128}$",
            must_be="must be the name of a stage: letters, digits, hyphens or underscores",
        ),
        Parameter(
            name="ManagementEndpoint",
            about="URL to which /@connections/id is added, where it is not the stage's own: that of"
            " a custom domain with the path of the stage. Needed if the API's default endpoint is"
            " disabled.",
            default="",
            pattern=_optional("https?://[!-~]{1,1000}"),
            must_be="must be empty, or an https:// URL that ends with the stage",
        ),
    ),
    "The table of connections": (
        Parameter(
            name="TableName",
            about="Name of the DynamoDB table, in this account and Region.",
            pattern="^[A-Za-z0-9_.-]{3,255}$",
            must_be="must be the name of a table, not its ARN",
        ),
        Parameter(
            name="TableKeyArn",
            about="ARN of the customer-managed KMS key that encrypts the table. Leave it empty for"
            " a table with a key of AWS.",
            default="",
            pattern=_optional("arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+"),
            must_be="must be empty, or the ARN of a KMS key (of a key, not of an alias)",
        ),
        _of_variable(
            "TableSchema",
            TABLE_SCHEMA,
            "What the items of the table mean, as JSON: the output of TableSchema.as_json()."
            " Empty: items as the reference application writes them.",
            pattern=rf"^(\{{[\s\S]{{0,{MAX_SCHEMA_BYTES - 2}}}\}})?$",
            must_be=f"must be empty, or a JSON object of up to {MAX_SCHEMA_BYTES} bytes",
        ),
        Parameter(
            name="StateTable",
            about="true: make a table for Hangup's own state, and write nothing to the table of"
            " connections. For a table with a stream, or of another owner.",
            default="false",
            allowed=_TRUE_OR_FALSE,
        ),
    ),
    "When a connection is idle": (
        _of_variable(
            "IdleTimeoutSeconds",
            CONNECTION_IDLE_TIMEOUT_SECONDS,
            "A connection is closed that has been silent for more than these seconds.",
            pattern=f"^({FROM_1})$",
        ),
        _of_variable(
            "TimeoutsByRole",
            IDLE_TIMEOUTS_BY_ROLE,
            "Timeouts of roles that have one of their own, such as speaker=300,listener=60. With"
            f" Precise, each must be {LOOK_AHEAD_S} or more too.",
            pattern=_optional(f"{ROLE}=({FROM_1})(,{ROLE}=({FROM_1})){{0,{MAX_ROLES - 1}}}"),
            must_be=f"must be empty, or {IDLE_TIMEOUTS_BY_ROLE.accepted}",
        ),
        _of_variable(
            "ActivityResolutionSeconds",
            ACTIVITY_RESOLUTION_SECONDS,
            "The ACTIVITY_RESOLUTION_SECONDS of the functions that record activity. Connections"
            " stay open that much longer.",
            pattern=f"^({FROM_0})$",
        ),
        _of_variable(
            "Activity",
            ACTIVITY,
            "Where activity comes from. recorded: functions write it into the table. gateway:"
            " nobody writes it, and API Gateway is asked about each connection once a timeout.",
            allowed=tuple(Activity),
        ),
        _of_variable(
            "LastActiveCounts",
            LAST_ACTIVE_COUNTS,
            "Whose messages move API Gateway's lastActiveAt. With both, a connection is closed by"
            " its record alone: choose it only where every route records activity.",
            allowed=tuple(LastActiveCounts),
        ),
    ),
    "What happens to it": (
        _of_variable(
            "Mode",
            MODE,
            "close: close idle connections. observe: decide and report, write and close nothing.",
            allowed=("close", "observe"),
        ),
        _of_variable(
            "HandOver",
            HAND_OVER,
            "What becomes of the record of a closed connection. always: the disconnect function is"
            " called, beside API Gateway's own event. if_left: it is called only where the record"
            " is still there a minute later. delete: the record is deleted. never: it is left.",
            allowed=tuple(HandOver),
        ),
        Parameter(
            name="DisconnectFunctionArn",
            about="ARN of the function of the $disconnect route. Needed for always and if_left, not"
            " used for delete and never.",
            default="",
            pattern=_optional("arn:[a-z-]+:lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9:$_-]+"),
            must_be="must be empty, or the ARN of a Lambda function",
        ),
    ),
    "Pace and precision": (
        Parameter(
            name="Precise",
            about="true: close at the deadline, by a queue. false: close up to a minute after it."
            f" true needs a timeout of {LOOK_AHEAD_S} seconds or more.",
            default="false",
            allowed=_TRUE_OR_FALSE,
        ),
        _of_variable(
            "ClosesPerSecond",
            CLOSES_PER_SECOND,
            "Most closes a second, of all functions together; 0 means unlimited. API Gateway"
            " accepts 500 new connections a second, from clients that come back.",
            pattern=f"^({UP_TO_1000})$",
        ),
        Parameter(
            name="CloseFunctions",
            about="With Precise: how many functions close at once. One is needed for each 120"
            " closes a second, and 4 at least.",
            default=str(close_functions(CLOSES_PER_SECOND.default)),
            allowed=CLOSE_FUNCTIONS,
        ),
        Parameter(
            name="Shards",
            about="Sweeps a minute that run at the same time, each on a part of the table. For a"
            " table that one sweep cannot read in a minute.",
            default="1",
            allowed=tuple(map(str, SHARDS_OF_TEMPLATE)),
        ),
        Parameter(
            name="ReserveConcurrency",
            about="Reserve concurrent executions for the sweep, so that two sweeps do not overlap."
            " false for an account that cannot: a quota of 10 allows none.",
            default="true",
            allowed=_TRUE_OR_FALSE,
        ),
    ),
    "Metrics, alarms and logs": (
        Parameter(
            name="Deployment",
            about="Keeps the metrics of several deployments apart: they are in the namespace"
            " Hangup/<Deployment>. Empty: the name of the stack.",
            default="",
            pattern="^[A-Za-z0-9._/#:-]{0,248}$",
            must_be="must be up to 248 letters, digits or ._/#:-",
        ),
        _of_variable(
            "MetricRoles",
            METRIC_ROLES,
            "The roles that the metric ConnectionTimeout names, separated by commas. Any other"
            " role counts as other.",
            pattern=f"^{ROLE}(,{ROLE}){{0,{MAX_ROLES - 1}}}$",
        ),
        Parameter(
            name="AlarmTopicArn",
            about="ARN of the SNS topic that hears of each alarm. Empty: nobody does.",
            default="",
            pattern=_optional("arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]+"),
            must_be="must be empty, or the ARN of an SNS topic",
        ),
        Parameter(
            name="Dashboard",
            about="true: make a CloudWatch dashboard ($3 a month above an account's first three).",
            default="false",
            allowed=_TRUE_OR_FALSE,
        ),
        _of_variable("LogLevel", LOG_LEVEL, "The lowest level of log lines.", allowed=LOG_LEVELS),
        Parameter(
            name="LogRetentionDays",
            about="How many days log lines are kept.",
            default="30",
            allowed=tuple(map(str, LOG_RETENTION_DAYS)),
        ),
    ),
    "The code": (
        Parameter(
            name="CodeBucket",
            about="S3 bucket that holds the zip of the functions, in this Region: `hangup package"
            " --bucket NAME` uploads it.",
            pattern="^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
            must_be="must be the name of an S3 bucket",
        ),
        Parameter(
            name="CodeKey",
            about="Key of the zip in that bucket.",
            pattern="^[!-~]{1,1024}$",
            must_be="must be the key of an object in S3",
        ),
        Parameter(
            name="Architecture",
            about="Processor of the functions; the zip must be for the same.",
            default="arm64",
            allowed=("arm64", "x86_64"),
        ),
    ),
}
"""The parameters by what they are about, in the order in which they are shown."""

PARAMETERS: Final = tuple(chain.from_iterable(GROUPS.values()))


def ref(parameter: str) -> Json:
    """Return a parameter's value, as CloudFormation sees it."""
    return {"Ref": parameter}


def _is(parameter: str, *values: str) -> Json:
    equal = [{"Fn::Equals": [ref(parameter), value]} for value in values]
    return equal[0] if len(equal) == 1 else {"Fn::Or": equal}


def _is_given(parameter: str) -> Json:
    return {"Fn::Not": [_is(parameter, "")]}


def at_least_shards(number: int) -> str:
    """Return the name of the condition that there are this many shards or more."""
    return f"Shards{number}"


_CALLS: Final = _is("HandOver", *(rule for rule in HandOver if rule.calls_handler))

CONDITIONS: Final[Mapping[str, Json]] = {
    "IsPrecise": _is("Precise", "true"),
    "HasStateTable": _is("StateTable", "true"),
    "HasEndpoint": _is_given("ManagementEndpoint"),
    "HasTableKey": _is_given("TableKeyArn"),
    "HasAlarmTopic": _is_given("AlarmTopicArn"),
    "IsNamed": _is_given("Deployment"),
    "HasDashboard": _is("Dashboard", "true"),
    "Reserves": _is("ReserveConcurrency", "true"),
    "CallsFunction": {"Fn::And": [_CALLS, _is_given("DisconnectFunctionArn")]},
    "DeletesRecords": _is("HandOver", HandOver.DELETE),
    **{
        at_least_shards(number): _is("Shards", *(str(n) for n in SHARDS_OF_TEMPLATE if n >= number))
        for number in SHARDS_OF_TEMPLATE[1:]
    },
}


def _rule(where: Json, must_hold: Json, says: str) -> Json:
    return {
        "RuleCondition": where,
        "Assertions": [{"Assert": must_hold, "AssertDescription": says}],
    }


_TOO_SHORT: Final = [str(seconds) for seconds in range(1, LOOK_AHEAD_S)]

RULES: Final[Mapping[str, Json]] = {
    "CallsNeedAFunction": _rule(
        _CALLS,
        _is_given("DisconnectFunctionArn"),
        "HandOver is always or if_left, so DisconnectFunctionArn must be given: the function of the"
        " $disconnect route. Without one, choose delete or never.",
    ),
    "PreciseNeedsTime": _rule(
        CONDITIONS["IsPrecise"],
        {"Fn::Not": [{"Fn::Contains": [_TOO_SHORT, ref("IdleTimeoutSeconds")]}]},
        f"Precise is true, so IdleTimeoutSeconds must be {LOOK_AHEAD_S} or more: with less, a"
        " connection may be idle before a sweep has seen it.",
    ),
    "GatewayNeedsNoRecords": _rule(
        _is("Activity", Activity.GATEWAY),
        {
            "Fn::And": [
                {"Fn::Not": [_is("LastActiveCounts", LastActiveCounts.BOTH)]},
                _is("ActivityResolutionSeconds", "0"),
            ]
        },
        "Activity is gateway, so LastActiveCounts must not be both, and ActivityResolutionSeconds"
        " must be 0: there are no records of activity.",
    ),
}
"""What contradicts. The functions themselves check what cannot be said here, at each start."""


def interface() -> Json:
    """Return how the console groups the parameters."""
    return {
        "AWS::CloudFormation::Interface": {
            "ParameterGroups": [
                {"Label": {"default": group}, "Parameters": [one.name for one in parameters]}
                for group, parameters in GROUPS.items()
            ]
        }
    }
