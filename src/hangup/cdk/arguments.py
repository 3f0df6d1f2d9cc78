"""Check the construct's arguments, so that a wrong one fails at synthesis and not at each sweep.

Each check raises ValueError, also for a value of another type. The error names the argument, says
what is accepted and shows what was given. A token, such as a CloudFormation parameter, has no value
at synthesis. It passes where an argument may be a token.
"""

from typing import TypeGuard

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb

from hangup.aws.schema import DEFAULT_SCHEMA
from hangup.config import LOG_LEVELS
from hangup.core.limits import MAX_CONNECTION_S
from hangup.core.timing import LOOK_AHEAD_S

__all__ = [
    "as_text",
    "check_construct",
    "check_flag",
    "check_log_level",
    "check_seconds",
    "check_table",
    "check_whole_number",
]

_KEY = [(DEFAULT_SCHEMA.connection_id, "HASH", "S")]
"""The table's key: name, part, type. There is no sort key."""


def as_text(seconds: float | str) -> str:
    """Return a number, or a token for one, as the value of an environment variable."""
    return cdk.Token.as_string(seconds) if cdk.Token.is_unresolved(seconds) else str(seconds)


def check_whole_number(name: str, value: object, *, at_least: int, at_most: int) -> None:
    """Refuse all but a whole number in these bounds, both included. A token is refused too."""
    if not _is_whole_number(value, at_least=at_least, at_most=at_most):
        raise ValueError(
            f"{name} must be a whole number from {at_least} to {at_most}, not {_shown(value)}."
        )


def check_flag(name: str, value: object) -> None:
    """Refuse all but True and False: the text "no" would count as true."""
    if not isinstance(value, bool):
        raise ValueError(  # noqa: TRY004 - one kind of error for all arguments
            f"{name} must be True or False, not {_shown(value)}."
        )


def check_log_level(value: object) -> None:
    """Refuse an unknown log level; a token passes."""
    known = isinstance(value, str) and value.upper() in LOG_LEVELS
    if not known and not cdk.Token.is_unresolved(value):
        raise ValueError(
            f"log_level must be one of {', '.join(LOG_LEVELS)} or a token, not {_shown(value)}."
        )


def check_seconds(idle_timeout: object, activity_resolution: object, *, precise: bool) -> None:
    """Refuse a timeout or a resolution that is out of bounds; tokens pass."""
    longest = MAX_CONNECTION_S
    if not cdk.Token.is_unresolved(idle_timeout):
        if not _is_whole_number(idle_timeout, at_least=1, at_most=MAX_CONNECTION_S):
            raise ValueError(
                f"idle_timeout_seconds must be a whole number from 1 to {MAX_CONNECTION_S} (no "
                f"WebSocket connection lives longer) or a token, not {_shown(idle_timeout)}."
            )
        longest = idle_timeout
        if precise and longest < LOOK_AHEAD_S:
            raise ValueError(
                f"precise=True needs idle_timeout_seconds of at least {LOOK_AHEAD_S}, not"
                f" {longest}: with less, a connection may be idle before a sweep has seen it. Use"
                " a longer timeout, or leave precise out: then closes come up to a minute late."
            )
    if cdk.Token.is_unresolved(activity_resolution):
        return
    if not _is_whole_number(activity_resolution, at_least=0, at_most=longest - 1):
        raise ValueError(
            "activity_resolution_seconds must be a whole number from 0 to below the idle timeout "
            f"({longest}) or a token, not {_shown(activity_resolution)}."
        )


def check_construct(name: str, value: object, kind: str, *members: str) -> None:
    """Refuse all but a construct of this kind, made here or imported.

    ``kind`` is an interface of CDK. It is known by its ``members``: isinstance does not work there.
    """
    if not all(hasattr(value, member) for member in members):
        raise ValueError(f"{name} must be an {kind}, made here or imported, not {_shown(value)}.")


def check_table(name: str, value: object) -> None:
    """Refuse all but a table of CDK with Hangup's key.

    The key of an imported table is unknown here. If it is wrong, the first sweep fails and says so.
    """
    check_construct(name, value, "aws_dynamodb.ITable", "table_name", "table_arn")
    key = _key_of(value)
    if key is not None and key != _KEY:
        given = ", ".join(f"{attribute} ({part}, {kind})" for attribute, part, kind in key)
        raise ValueError(
            f"{name} must have the partition key {DEFAULT_SCHEMA.connection_id} (string)"
            f" and no sort key, not {given}."
        )


def _key_of(table: object) -> list[tuple[str, str, str]] | None:
    """Return name, part (HASH, RANGE) and type (S, N, B) of each attribute of a table's key."""
    resource = table.node.default_child if isinstance(table, cdk.Resource) else None
    if not isinstance(resource, dynamodb.CfnTable | dynamodb.CfnGlobalTable):
        return None
    stack = cdk.Stack.of(resource)
    types = {
        one["attributeName"]: one["attributeType"]
        for one in stack.resolve(resource.attribute_definitions)
    }
    return [
        (one["attributeName"], one["keyType"], types[one["attributeName"]])
        for one in stack.resolve(resource.key_schema)
    ]


def _is_whole_number(value: object, *, at_least: int, at_most: int) -> TypeGuard[int]:
    # By its type: True is an int for Python.
    return type(value) is int and at_least <= value <= at_most


def _shown(value: object) -> str:
    return "a token" if cdk.Token.is_unresolved(value) else repr(value)
