"""What tells the deployments of one account and Region apart: their metrics and their tables."""

import json
import re

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from hangup.aws.schema import TableSchema
from hangup.config import METRICS_NAMESPACE
from hangup.core.report import NAMESPACE

_NOTE = "hangup:deployment"
"""The type of the app's metadata that remembers the deployments so far. It is in no template."""


def namespace_of(scope: Construct, deployment: str | None) -> str:
    """Return the CloudWatch namespace of a deployment, by default named by its path.

    A namespace, and not one more dimension: CloudWatch charges for each combination of namespace,
    name and dimensions (CloudWatch pricing, "custom metrics"). A dimension would have to stand
    beside the sets that alarms and dashboards read, and double the number of metrics.

    Raise ValueError for a name that cannot be part of a namespace; a token passes.
    """
    if deployment is None:
        # A path may have spaces and other characters that a namespace may not.
        deployment = re.sub("[^A-Za-z0-9._/#:-]", "-", scope.node.path)
    namespace = f"{NAMESPACE}/{deployment}"
    is_text = isinstance(deployment, str) and deployment
    fits = is_text and METRICS_NAMESPACE.accepted.accepts(namespace)
    if not fits and not cdk.Token.is_unresolved(deployment):
        raise ValueError(
            f"deployment must be 1 to 248 letters, digits or ._/#:- or a token, not {deployment!r}."
        )
    return namespace


def refuse_a_second(
    scope: Construct,
    namespace: str,
    table: dynamodb.ITable,
    schema: TableSchema | str,
    state_table: dynamodb.ITable | None = None,
) -> None:
    """Raise ValueError if the app has another deployment on this table, or of this name.

    Two may be on one table where no item can be a connection by both of their schemas. A schema
    that is a token may be any. Each has a state table of its own: nobody says that ids of two APIs
    differ.
    """
    if state_table is not None:
        _refuse_again(
            scope,
            f"state table {_identity(state_table)}",
            "have the same state_table. Give each a table of its own, or pass True",
        )
        if _identity(state_table) == _identity(table):
            raise ValueError("state_table must be another table than connections_table.")
    stack = cdk.Stack.of(scope)
    name = [stack.account, stack.region, namespace]
    if cdk.Token.is_unresolved(namespace):
        name.append(stack.node.path)  # the same token is another name in another stack
    _refuse_again(
        scope,
        f"table {_identity(table)}",
        "are on the same connections_table: each would take the other's connections for gone, or"
        " close them. Give each a table of its own, or a schema whose conditions (only) tell their"
        " connections apart",
        schema if isinstance(schema, TableSchema) else None,
    )
    _refuse_again(
        scope,
        f"name {_as_text(stack, name)}",
        "have the same deployment: their metrics would be one. Give each a name of its own",
    )


def _refuse_again(scope: Construct, what: str, why: str, schema: TableSchema | None = None) -> None:
    app = scope.node.root.node
    for entry in app.metadata:
        if entry.type != _NOTE or entry.data["what"] != what:
            continue
        other = entry.data["schema"] and TableSchema.from_json(entry.data["schema"])
        if not (schema and other and schema.selection.excludes(other.selection)):
            raise ValueError(f"{entry.data['path']} and {scope.node.path} {why}.")
    own = schema.as_json() if schema is not None else ""
    app.add_metadata(_NOTE, {"what": what, "path": scope.node.path, "schema": own})


def _identity(table: dynamodb.ITable) -> str:
    """Return a text that two tables share only if they are one."""
    if table.node.default_child is not None:
        return str(table.node.path)
    # An imported one, which may be imported again elsewhere.
    arn = table.table_arn
    stack = cdk.Stack.of(table)
    if not cdk.Token.is_unresolved(arn):
        return str(arn)
    # The stages of an app may be in different accounts, though it is said nowhere.
    stage = cdk.Stage.of(table)
    return _as_text(stack, [stage.node.path if stage else "", stack.account, stack.region, arn])


def _as_text(stack: cdk.Stack, value: object) -> str:
    return json.dumps(stack.resolve(value), sort_keys=True)
