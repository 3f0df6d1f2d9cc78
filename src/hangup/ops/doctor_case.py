"""What the checks of ``hangup doctor`` go by and return: a case, and findings.

A case is a deployment, and what AWS says of it. Everything is asked for once, when the first check
needs it.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from hangup.aws.discovery import Account, FoundTable
from hangup.aws.errors import ServiceError
from hangup.aws.inspected import Function, Resource
from hangup.aws.inspection import Inspection
from hangup.aws.stacks import Stacks, StackState
from hangup.aws.values import Item
from hangup.core.connection import Connection, ConnectionInfo, DurationMs, NoConnection
from hangup.core.hand_over import HandOver
from hangup.core.policy import IdlePolicy
from hangup.errors import BackendError
from hangup.ops.deployment_file import Deployment
from hangup.ops.sweep import endpoint_of
from hangup.ops.template import timeout_template
from hangup.ops.troubles import TROUBLES, Status
from hangup.ports import Clock

_FUNCTION: Final = "AWS::Lambda::Function"

LOG_GROUP: Final = "AWS::Logs::LogGroup"
"""The type of what holds the log of a function."""

MOST_ITEMS: Final = 1_000
"""Items that are read at most: one in a thousand may be a connection where a table has others."""

_ENOUGH: Final = 20

LATELY_MIN: Final = 10
"""Minutes without a sweep that are too many."""

_NOBODY: Final = "AAAAAAAAAAAAAAA="
"""An id as API Gateway gives them, of no connection."""


class Case:
    """One deployment and its account. Every property raises ``BackendError``."""

    def __init__(
        self,
        deployment: Deployment,
        *,
        account: Account,
        inspection: Inspection,
        stacks: Stacks,
        clock: Clock,
    ) -> None:
        self.deployment = deployment
        self.account = account
        self.inspection = inspection
        self.stacks = stacks
        self.clock = clock

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - by the key
        """Return a setting of the file by its dotted key."""
        return self.deployment[key]

    @cached_property
    def region(self) -> str:
        """The Region that is asked."""
        return self.account.region

    @cached_property
    def api(self) -> tuple[str, bool] | None:
        """The API's protocol, and whether API Gateway's own address of it works."""
        return self.inspection.api(self["api.id"])

    @property
    def is_on_web_socket_api(self) -> bool:
        """Whether the API is there and is of the right kind."""
        return self.api is not None and self.api[0] == "WEBSOCKET"

    @property
    def endpoint(self) -> str:
        """The ``@connections`` URL of the stage."""
        return endpoint_of(self.deployment, region=self.region)

    @cached_property
    def nobody(self) -> ConnectionInfo | NoConnection | BackendError:
        """What the endpoint answers about a connection that there is not."""
        try:
            return self.account.connections_at(self.endpoint).get_connection(_NOBODY)
        except BackendError as error:
            return error

    @cached_property
    def table(self) -> FoundTable | None:
        """The table."""
        try:
            return self.account.table(self["table.name"])
        except BackendError as error:
            if error.code == "ResourceNotFoundException":
                return None
            raise

    @cached_property
    def items(self) -> Sequence[Item]:
        """Items of the table: a page, and more of them where that has few connections."""
        items: list[Item] = []
        if self.table is not None:
            matches, connections = self.deployment.table_schema.matches, 0
            for page in self.account.pages(self.table.name):
                items += page
                connections += sum(map(matches, page))
                if connections >= _ENOUGH or len(items) >= MOST_ITEMS:
                    break
        return items

    @cached_property
    def connections(self) -> Sequence[Connection]:
        """The connections of this deployment among these items."""
        schema, table = self.deployment.table_schema, self.table
        if table is None or list(table.key) != schema.table_key.attributes:
            return ()
        return [schema.decode(item) for item in self.items if schema.matches(item)]

    @property
    def policy(self) -> IdlePolicy:
        """When a connection is idle."""
        return IdlePolicy(
            idle_timeout_ms=DurationMs(self["timeout.idle_seconds"] * 1000),
            activity_resolution_ms=DurationMs(self["timeout.activity_resolution_seconds"] * 1000),
            by_role={
                role: DurationMs(seconds * 1000)
                for role, seconds in self.deployment.timeouts_by_role_s.items()
            },
        )

    @property
    def hand_over(self) -> HandOver:
        """What becomes of a record."""
        return HandOver(self["timeout.hand_over"])

    @cached_property
    def stack(self) -> StackState | None:
        """The stack of the timeout."""
        return self.stacks.find(self["stack.name"])

    @cached_property
    def resources(self) -> Sequence[Resource]:
        """What that stack has."""
        return () if self.stack is None else self.inspection.resources(self.stack.stack_id)

    def of_kind(self, kind: str) -> Sequence[str]:
        """Return the physical ids of its resources of a type."""
        return [one.physical_id for one in self.resources if one.kind == kind]

    @cached_property
    def functions(self) -> Sequence[Function]:
        """Its functions, that of the sweep first."""
        if self.stack is None:
            return ()
        first = self.stack.outputs.get("TimeoutFunctionName")
        names = sorted(self.of_kind(_FUNCTION), key=lambda name: name != first)
        return [one for name in names if (one := self.inspection.function(name)) is not None]

    @property
    def is_new(self) -> bool:
        """Whether the first sweeps may be still to come."""
        changed_at_ms = self.functions[0].changed_at_ms if self.functions else None
        return changed_at_ms is None or self.clock.now_ms() - changed_at_ms < LATELY_MIN * 60_000

    @property
    def read_log(self) -> str:
        """The command that shows the log of the sweeps."""
        return aws("logs", "tail", *self.of_kind(LOG_GROUP)[:1], "--since", "1h")

    @property
    def last_active_counts(self) -> str:
        """Whose messages count in ``lastActiveAt``: by the file, or as the stack remembers."""
        held = self.deployment.kept(self.stack.parameters if self.stack else {})
        return next(iter(held.values()), self["timeout.last_active_counts"])

    @cached_property
    def template(self) -> Any:  # noqa: ANN401 - JSON
        """The template that the installed package would deploy."""
        return json.loads(timeout_template())


def is_answered(error: BackendError) -> bool:
    """Return whether AWS answered, and refused."""
    return isinstance(error.__cause__, ServiceError)


def hangup(*words: str) -> str:
    """Return a command of this program."""
    return shlex.join(["hangup", *words])


def aws(*words: str) -> str:
    """Return a command of AWS's own program."""
    return shlex.join(["aws", *words])


def out_of_vpc(function: str) -> str:
    """Return the command that takes a function out of its VPC: a sweep needs nothing in one."""
    return aws(
        *("lambda", "update-function-configuration", "--function-name", function),
        *("--vpc-config", "SubnetIds=[],SecurityGroupIds=[]"),
    )


def setting(key: str, value: object) -> str:
    """Return the command that deploys with another value of a setting."""
    return hangup("deploy", "--set", f"{key}={value}")


def may_do(principal: str, grants: Iterable[tuple[str | list[str], str]]) -> str:
    """Return the command that grants a role or a user, by its ARN, actions on resources.

    arn:PARTITION:iam::ACCOUNT:role/PATH/NAME, or user/PATH/NAME;
    arn:PARTITION:sts::ACCOUNT:assumed-role/NAME/SESSION of whoever has taken a role.
    """
    kind = "user" if ":user/" in principal else "role"
    place = 1 if ":assumed-role/" in principal else -1
    name = principal.split("/")[place] if "/" in principal else "NAME"
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": resource}
            for actions, resource in grants
        ],
    }
    return aws(
        *("iam", f"put-{kind}-policy", f"--{kind}-name", name),
        *("--policy-name", "hangup-doctor", "--policy-document", json.dumps(document)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    ``name`` is the trouble's, or the check's where all is well. ``message`` is what a user sees
    elsewhere because of it, word for word, empty where that is nothing. ``fix`` is a command,
    empty where all is well.
    """

    status: Status
    name: str
    what: str
    cause: str = ""
    fix: str = ""
    message: str = ""

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to do."""
        return self.status is Status.OK

    def as_json(self) -> Mapping[str, str]:
        """Return it for programs."""
        return {
            "status": str(self.status),
            "name": self.name,
            "what": self.what,
            "cause": self.cause,
            "fix": self.fix,
            "message": self.message,
        }


def well(name: str, what: str) -> Finding:
    """Return that all is well with something."""
    return Finding(status=Status.OK, name=name, what=what)


def found(name: str, cause: str, *, fix: str) -> Finding:
    """Return a trouble of ``TROUBLES`` with its cause, and the command that ends it."""
    trouble = TROUBLES[name]
    return Finding(
        status=trouble.status,
        name=name,
        what=trouble.what,
        cause=cause,
        fix=fix,
        message=trouble.message,
    )


def worst(findings: Sequence[Finding]) -> Status:
    """Return the worst status of all; ok for none."""
    return max((one.status for one in findings), key=list(Status).index, default=Status.OK)
