"""Check the construct's arguments, so that a wrong one fails at synthesis and not at each sweep.

Each check raises ValueError, also for a value of another type. The error names the argument, says
what is accepted and shows what was given. A token, such as a CloudFormation parameter, has no value
at synthesis. It passes where an argument may be a token.
"""

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_dynamodb as dynamodb

from hangup.aws.schema import TableSchema
from hangup.aws.schema_checks import WHAT_IS_MORE
from hangup.config import (
    ACTIVITY,
    API_GATEWAY_ENDPOINT,
    CONNECTION_IDLE_TIMEOUT_SECONDS,
    HAND_OVER,
    IDLE_TIMEOUTS_BY_ROLE,
    LAST_ACTIVE_COUNTS,
    METRIC_ROLES,
)
from hangup.core.bounds import WholeNumber
from hangup.core.guard import NOT_WITH_GATEWAY, Activity, LastActiveCounts
from hangup.core.hand_over import HandOver
from hangup.core.limits import MAX_CONNECTION_S, MAX_ROLES
from hangup.core.texts import Unfit
from hangup.core.timing import LOOK_AHEAD_S
from hangup.variables import Accepted, is_role


def as_text(seconds: float | str) -> str:
    """Return a number, or a token for one, as the value of an environment variable."""
    return cdk.Token.as_string(seconds) if cdk.Token.is_unresolved(seconds) else str(seconds)


def in_seconds(name: str, value: int | str | cdk.Duration) -> int | str:
    """Return a ``cdk.Duration`` in seconds, and anything else as it is, to be checked."""
    if not isinstance(value, cdk.Duration):
        return value
    try:
        seconds = value.to_seconds()
    except RuntimeError:  # CDK's, for a fraction
        raise ValueError(f"{name} must be whole seconds, not {value.to_string()}.") from None
    return cdk.Token.as_string(seconds) if value.is_unresolved() else int(seconds)


def check(name: str, value: object, allowed: Accepted[object], *, or_token: bool = False) -> None:
    """Refuse what the variable behind an argument may not be; with ``or_token``, a token passes."""
    if not allowed.accepts(value) and not (or_token and cdk.Token.is_unresolved(value)):
        kind = f"{allowed} or a token" if or_token else f"{allowed}"
        raise ValueError(f"{name} must be {kind}, not {_shown(value)}.")


def check_flags(**flags: object) -> None:
    """Refuse all but True and False: the text "no" would count as true."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(  # noqa: TRY004 - one kind of error for all arguments
                f"{name} must be True or False, not {_shown(value)}."
            )


def check_metric_roles(value: object) -> None:
    """Refuse all but a sequence of role names that ``METRIC_ROLES`` accepts; a token too."""
    # A text is a sequence of letters, and a name with a comma would count as two.
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or any(not isinstance(role, str) or "," in role for role in value)
        or not METRIC_ROLES.accepted.accepts(",".join(value))
    ):
        raise ValueError(
            "metric_roles must be a sequence of 1 to 10 names of roles (letters, digits, dots,"
            f" hyphens or underscores), not {value!r}."
        )


def check_seconds(
    idle_timeout: object,
    activity_resolution: object,
    *,
    precise: bool,
    name: str = "idle_timeout_seconds",
) -> None:
    """Refuse a timeout or a resolution that is out of bounds; tokens pass."""
    check(name, idle_timeout, CONNECTION_IDLE_TIMEOUT_SECONDS.accepted, or_token=True)
    # A token may become any timeout.
    longest = idle_timeout if isinstance(idle_timeout, int) else MAX_CONNECTION_S
    if precise and longest < LOOK_AHEAD_S:
        raise ValueError(
            f"precise=True needs {name} of at least {LOOK_AHEAD_S}, not"
            f" {longest}: with less, a connection may be idle before a sweep has seen it. Use"
            " a longer timeout, or leave precise out: then closes come up to a minute late."
        )
    of_role = "" if name == "idle_timeout_seconds" else f" in {name}"
    below = WholeNumber(at_least=0, at_most=longest - 1)
    if not below.accepts(activity_resolution) and not cdk.Token.is_unresolved(activity_resolution):
        raise ValueError(
            "activity_resolution_seconds must be a whole number from 0 to below the idle timeout"
            f"{of_role} ({longest}) or a token, not {_shown(activity_resolution)}."
        )


def check_activity(
    activity: object, *, last_active_counts: object, activity_resolution: object
) -> None:
    """Refuse what there is not of these, and what cannot be with API Gateway's account.

    Tokens pass: the functions refuse the same.
    """
    check("activity", activity, ACTIVITY.accepted, or_token=True)
    check("last_active_counts", last_active_counts, LAST_ACTIVE_COUNTS.accepted, or_token=True)
    if activity != Activity.GATEWAY:
        return
    if last_active_counts == LastActiveCounts.BOTH:
        raise ValueError(f"last_active_counts must not be both: {NOT_WITH_GATEWAY}.")
    if activity_resolution != 0 and not cdk.Token.is_unresolved(activity_resolution):
        raise ValueError(
            "activity_resolution_seconds must be 0 with activity='gateway', not"
            f" {activity_resolution}: API Gateway's times are exact."
        )


def timeouts_by_role(
    by_role: Mapping[str, int | str | cdk.Duration] | None,
    activity_resolution: object,
    schema: TableSchema | str,
    *,
    precise: bool,
) -> dict[str, str]:
    """Return the variable that has the timeouts by role; none without any.

    Refuse what ``check_seconds`` would refuse of any of them; a token passes as a number.
    """
    name = "idle_timeouts_by_role"
    if by_role is None:
        return {}
    is_named = isinstance(by_role, Mapping) and all(is_role(role) for role in by_role)
    if not is_named or not 1 <= len(by_role) <= MAX_ROLES:
        raise ValueError(
            f"{name} must be a mapping from 1 to {MAX_ROLES} names of roles (letters, digits, dots,"
            f" hyphens or underscores) to seconds, not {by_role!r}."
        )
    if isinstance(schema, TableSchema) and schema.role is None:
        raise ValueError(f"{name} needs a schema whose role is an attribute, not None.")
    seconds = {role: in_seconds(f"{name}[{role!r}]", value) for role, value in by_role.items()}
    for role, value in seconds.items():
        check_seconds(value, activity_resolution, precise=precise, name=f"{name}[{role!r}]")
    return {
        IDLE_TIMEOUTS_BY_ROLE.name: ",".join(
            f"{role}={as_text(value)}" for role, value in seconds.items()
        )
    }


def check_hand_over(rule: object, disconnect_handler: object, schema: TableSchema | str) -> None:
    """Refuse a rule that there is not, and a handler or a schema that does not fit the rule.

    A token may become any rule, so it needs a handler.
    """
    check("hand_over", rule, HAND_OVER.accepted, or_token=True)
    hand_over = HandOver.ALWAYS if cdk.Token.is_unresolved(rule) else HandOver(str(rule))
    is_more = isinstance(schema, TableSchema) and not schema.table_key.has_id
    if hand_over is HandOver.DELETE and is_more:
        raise ValueError(f"hand_over must not be delete: {WHAT_IS_MORE}.")
    if not hand_over.calls_handler and disconnect_handler is not None:
        raise ValueError(
            f"disconnect_handler would never be called with hand_over={hand_over.value!r}: leave it"
            " out, or choose always or if_left."
        )
    if hand_over.calls_handler:
        check_construct(
            "disconnect_handler", disconnect_handler, "aws_lambda.IFunction", "function_arn"
        )


def check_construct(name: str, value: object, kind: str, *members: str) -> None:
    """Refuse all but a construct of this kind, made here or imported.

    ``kind`` is an interface of CDK. It is known by its ``members``: isinstance does not work there.
    """
    if not all(hasattr(value, member) for member in members):
        raise ValueError(f"{name} must be an {kind}, made here or imported, not {_shown(value)}.")


def check_key(name: str, value: object) -> None:
    """Refuse all but a key, and None for none."""
    if value is not None:
        check_construct(name, value, "aws_kms.IKey", "key_arn")


def check_api(api: object, management_endpoint: object) -> None:
    """Refuse an API whose calls have nowhere to go, and an endpoint where they cannot go.

    Whether an imported API has its default endpoint is unknown here.
    """
    check_construct("api", api, "aws_apigatewayv2.IWebSocketApi", "api_id")
    if management_endpoint is not None:
        _check_endpoint(management_endpoint)
        return
    resource = api.node.default_child if isinstance(api, cdk.Resource) else None
    disabled = isinstance(resource, apigatewayv2.CfnApi) and resource.disable_execute_api_endpoint
    if disabled and not cdk.Token.is_unresolved(disabled):
        raise ValueError(
            "api has its default endpoint disabled, so management_endpoint must be given: the"
            " https:// URL of its custom domain, with the path that is mapped to the stage."
        )


def _check_endpoint(value: object) -> None:
    if cdk.Token.is_unresolved(value):
        return
    accepted = API_GATEWAY_ENDPOINT.accepted
    try:
        accepted.parse(value if isinstance(value, str) else "")
    except ValueError as error:
        fix = f": {error}" if isinstance(error, Unfit) else ""
        raise ValueError(
            f"management_endpoint must be {accepted} or a token, not {value!r}{fix}."
        ) from None


def check_table(name: str, value: object, schema: TableSchema | str) -> None:
    """Refuse all but a table of CDK with the key of the schema.

    The key of an imported table is unknown here, and so is that of a schema that is a token. If
    they differ, the first sweep fails and says so.
    """
    check_construct(name, value, "aws_dynamodb.ITable", "table_name", "table_arn")
    resource = value.node.default_child if isinstance(value, cdk.Resource) else None
    if not isinstance(resource, dynamodb.CfnTable | dynamodb.CfnGlobalTable):
        return
    if isinstance(schema, str):
        return
    resolve = cdk.Stack.of(resource).resolve
    types = {
        one["attributeName"]: one["attributeType"]
        for one in resolve(resource.attribute_definitions)
    }
    elements = resolve(resource.key_schema)
    key = [(one["attributeName"], types[one["attributeName"]]) for one in elements]
    if key != schema.table_key.attributes:
        given = ", ".join(
            f"{one['attributeName']} ({one['keyType']}, {types[one['attributeName']]})"
            for one in elements
        )
        raise ValueError(f"{name} must have the {schema.table_key}, not {given}.")
    if schema.index is not None:
        _check_index(name, resource, schema, schema.index)


def _check_index(
    name: str,
    resource: dynamodb.CfnTable | dynamodb.CfnGlobalTable,
    schema: TableSchema,
    index_name: str,
) -> None:
    """Refuse an index that the table does not have by now, or not as the schema reads it."""
    resolve = cdk.Stack.of(resource).resolve
    indexes = [
        *(resolve(resource.global_secondary_indexes) or []),
        *(resolve(resource.local_secondary_indexes) or []),
    ]
    index = next((one for one in indexes if one["indexName"] == index_name), None)
    if index is None:
        known = ", ".join(one["indexName"] for one in indexes) or "none"
        raise ValueError(
            f"{name} must have the schema's index {index_name}, and has {known}: add it to the"
            " table before this construct is made."
        )
    if index["projection"].get("projectionType", "ALL") != "ALL":
        raise ValueError(f"{name}'s index {index_name} must project all attributes.")
    partition_key = index["keySchema"][0]["attributeName"]
    if schema.partition is not None and schema.partition.attribute != partition_key:
        raise ValueError(
            f"{name}'s index {index_name} has the partition key {partition_key}, and the schema's"
            f" partition names {schema.partition.attribute}."
        )


def check_place_of_table(
    name: str, table: dynamodb.ITable, *, region: str, replicated: bool
) -> None:
    """Refuse a table of another Region than ``region``, and one with replicas elsewhere.

    ``replicated`` allows replicas. Those of an imported table are unknown here.
    """
    arn = table.table_arn
    # An import by its ARN does not say that the table is of another Region than the stack.
    own = cdk.Stack.of(table).region if cdk.Token.is_unresolved(arn) else arn.split(":")[3]
    if own != region and not cdk.Token.is_unresolved(own) and not cdk.Token.is_unresolved(region):
        raise ValueError(
            f"{name} must be in the Region of the stack, {region}, not in {own}: the functions look"
            " for it in their own. Put the construct into a stack of that Region."
        )
    if not replicated and _has_replicas(table):
        raise ValueError(
            f"{name} has replicas in other Regions. A claim in one Region does not hold in another,"
            " and clients of another Region's API look gone here. If one Region's clients alone are"
            " in the table, pass replicated_table=True in that Region."
        )


def _has_replicas(table: dynamodb.ITable) -> bool:
    resource = table.node.default_child
    if isinstance(resource, dynamodb.CfnGlobalTable):
        # The table's own Region is among them.
        return len(cdk.Stack.of(resource).resolve(resource.replicas)) > 1
    # The older Table has a custom resource for each.
    return any(child.node.id.startswith("Replica") for child in table.node.children)


def _shown(value: object) -> str:
    return "a token" if cdk.Token.is_unresolved(value) else repr(value)
