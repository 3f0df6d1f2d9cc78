"""An account by stubs, in which all is well: what the emulator does not show is changed in it.

Answers are in the form in which botocore returns them, by the names of operations. One may be an
exception, or a function of the request.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from types import SimpleNamespace
from typing import Any

from hangup.aws.discovery import Account, FoundTable
from hangup.aws.errors import ServiceError, UnansweredError
from hangup.aws.inspection import Inspection
from hangup.aws.retries import CallFailed
from hangup.aws.runtime import calls
from hangup.aws.stacks import Stacks, StackState
from hangup.aws.values import Item
from hangup.core.connection import ConnectionInfo, DurationMs, EpochMs, NoConnection
from hangup.errors import BackendError
from hangup.ops.deployment_file import Deployment
from hangup.ops.doctor import examine
from hangup.ops.doctor_case import Case, Finding
from hangup.ops.template import timeout_template

NOW_MS = EpochMs(1_700_000_000_000)
NOW = "Tue, 14 Nov 2023 22:13:20 GMT"
ACCOUNT = "123456789012"
FUNCTION = "chat-hangup-Timeout"
ARN = f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function"
RULE = f"arn:aws:events:eu-central-1:{ACCOUNT}:rule/tick"
NAMESPACE = "Hangup/chat-hangup"
FILE = f"""
[stack]
name = "chat-hangup"
[api]
id = "abc123"
stage = "prod"
disconnect_function = "{ARN}:chat"
[table]
name = "sockets"
connection_id = "id"
connected_at = {{ attribute = "since", unit = "ms" }}
[timeout]
activity = "gateway"
hand_over = "if_left"
"""


class Clock:
    """A clock that goes on where somebody sleeps, and nowhere else."""

    def __init__(self) -> None:
        self.slept_ms = 0

    def now_ms(self) -> EpochMs:
        return EpochMs(NOW_MS + self.slept_ms)

    def monotonic_ms(self) -> DurationMs:
        return DurationMs(0)

    def sleep(self, duration_ms: DurationMs) -> None:
        """Return at once, later."""
        self.slept_ms += duration_ms


class StubbedInspection(Inspection):
    """Answers what is planned, without botocore; ``private`` are the hosts that look private."""

    def __init__(self, answers: dict[str, Any], private: Sequence[str] = ()) -> None:
        super().__init__(calls)
        self.answers = answers
        self.private = private

    def is_private_here(self, host: str) -> bool:
        return host in self.private

    def _client(self, service: str, endpoint: str | None = None) -> Any:
        return SimpleNamespace(filter_log_events=partial(self._ask, service, "FilterLogEvents"))

    def _ask(self, service: str, operation: str, **request: Any) -> Any:
        answer = self.answers[operation]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    def _listed(self, service: str, operation: str, members: str, **request: Any) -> list[Any]:
        return list(self._ask(service, operation, **request)[members])


class StubbedAccount(Account):
    """An account with one table, and an API that knows the connections in ``infos`` alone."""

    def __init__(
        self, table: FoundTable, items: Sequence[Item], infos: Mapping[str, ConnectionInfo]
    ) -> None:
        super().__init__(calls)
        self.found, self.items, self.infos = table, items, infos
        self.asked_at: list[str] = []
        self.answer: Exception | None = None

    @property
    def region(self) -> str:
        return "eu-central-1"

    def table(self, name: str) -> FoundTable:
        return self.found

    def pages(self, table: str) -> Iterator[Sequence[Item]]:
        for start in range(0, len(self.items), 100):
            yield self.items[start : start + 100]

    def routes(self, api_id: str, variables: Mapping[str, str]) -> list[Any]:
        return []

    def connections_at(self, endpoint: str) -> Any:
        self.asked_at.append(endpoint)
        return self

    def get_connection(self, connection_id: str) -> ConnectionInfo | NoConnection:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.infos.get(connection_id, NoConnection.GONE)


class StubbedStacks(Stacks):
    """One stack, or none."""

    def __init__(self, state: StackState | None) -> None:
        self.state = state

    def find(self, stack: str) -> StackState | None:
        return self.state


def refused(operation: str) -> BackendError:
    """Return what is raised where IAM refuses an operation."""
    reason = ServiceError("AccessDeniedException", "User is not authorized", status=400)
    return failed(operation, reason)


def failed(operation: str, reason: ServiceError | UnansweredError) -> BackendError:
    """Return what is raised where an operation fails for this reason."""
    error = CallFailed(operation, reason, None)
    error.__cause__ = reason
    return error


class World:
    """A case in which all is well, to be changed before it is examined."""

    def __init__(self, *overrides: str, text: str = FILE) -> None:
        self.deployment = Deployment.from_text(text, "hangup.toml", overrides)
        self.state: StackState | None = StackState(
            stack_id="chat-hangup",
            status="UPDATE_COMPLETE",
            parameters={"CodeBucket": "code", "CodeKey": "key"},
            outputs={"TimeoutFunctionName": FUNCTION, "MetricsNamespace": NAMESPACE},
            tags={"hangup": "timeout"},
            is_protected=False,
        )
        self.table = FoundTable(name="sockets", key=[("id", "S")])
        self.items: list[Item] = []
        self.infos: dict[str, ConnectionInfo] = {}
        self.endpoint_answer: Exception | None = None
        self.private: list[str] = []
        self.metrics: dict[tuple[str, str], float] = {("AWS/Lambda", "Invocations"): 10}
        self.answers: dict[str, Any] = deepcopy(dict(_WELL)) | {"GetMetricData": self._metric_data}
        self.answers["GetTemplate"] = lambda _: {"TemplateBody": timeout_template()}
        self.case = self.anew()

    def anew(self) -> Case:
        """Return the case as it is now."""
        self.account = StubbedAccount(self.table, self.items, self.infos)
        self.account.answer = self.endpoint_answer
        self.clock = Clock()
        self.case = Case(
            self.deployment,
            account=self.account,
            inspection=StubbedInspection(self.answers, self.private),
            stacks=StubbedStacks(self.state),
            clock=self.clock,
        )
        return self.case

    def _metric_data(self, request: Any) -> Any:
        results = []
        for one in request["MetricDataQueries"]:
            metric = one["MetricStat"]["Metric"]
            value = self.metrics.get((metric["Namespace"], metric["MetricName"]), 0)
            results.append({"Id": one["Id"], "Values": [value] if value else []})
        return {"MetricDataResults": results}


def function(name: str, **more: Any) -> Any:
    """Return a function as GetFunctionConfiguration describes it."""
    return {
        "FunctionName": name,
        "FunctionArn": f"{ARN}:{name}",
        "Role": f"arn:aws:iam::{ACCOUNT}:role/path/{name}",
        "LastModified": "2023-11-01T00:00:00.000+0000",
        **more,
    }


def _function_named(request: Any) -> Any:
    name = request["FunctionName"].rpartition(":")[2]
    variables = {
        "API_GATEWAY_ENDPOINT": "https://abc123.execute-api.eu-central-1.amazonaws.com/prod",
        "CONNECTIONS_TABLE": "sockets",
        "DISCONNECT_HANDLER_FUNCTION": "chat",
    }
    return function(name, Environment={"Variables": variables if name == FUNCTION else {}})


def _resource(kind: str, name: str) -> Any:
    return {
        "ResourceType": kind,
        "LogicalResourceId": name,
        "PhysicalResourceId": name,
        "ResourceStatus": "CREATE_COMPLETE",
    }


def allowed(request: Any) -> Any:
    """Return that all actions are allowed."""
    return {
        "EvaluationResults": [
            {"EvalActionName": one, "EvalDecision": "allowed"} for one in request["ActionNames"]
        ]
    }


class _Body:
    def read(self) -> bytes:
        return b"hangup/__pycache__/errors.cpython-313.pyc"


_ALARM = {
    "AlarmName": "Held",
    "AlarmDescription": "Sweeps are held",
    "MetricName": "SweepsHeld",
    "StateValue": "OK",
    "AlarmActions": ["topic"],
    "ActionsEnabled": True,
}
_STATEMENT = {
    "Effect": "Allow",
    "Principal": {"Service": "events.amazonaws.com"},
    "Condition": {"ArnLike": {"AWS:SourceArn": RULE}},
}
_WELL: Mapping[str, Any | Callable[[Any], Any]] = {
    "GetCallerIdentity": {
        "Account": ACCOUNT,
        "Arn": f"arn:aws:iam::{ACCOUNT}:user/team/ada",
        "ResponseMetadata": {"HTTPHeaders": {"date": NOW}},
    },
    "GetApi": {"ProtocolType": "WEBSOCKET"},
    "GetStage": {"DeploymentId": "d1"},
    "GetAccount": {"throttleSettings": {"rateLimit": 10_000.0}},
    "GetDomainNames": {"Items": []},
    "GetAccountSettings": {"AccountLimit": {"UnreservedConcurrentExecutions": 1000}},
    "GetFunctionConfiguration": _function_named,
    "GetFunctionConcurrency": {},
    "ListFunctions": {"Functions": []},
    "GetPolicy": {"Policy": f'{{"Statement": [{str(_STATEMENT).replace(chr(39), chr(34))}]}}'},
    "ListEventSourceMappings": {"EventSourceMappings": []},
    "SimulatePrincipalPolicy": allowed,
    "GetObject": {"Body": _Body()},
    "DescribeStackResources": {
        "StackResources": [
            _resource("AWS::Lambda::Function", FUNCTION),
            _resource("AWS::Events::Rule", "tick"),
            _resource("AWS::CloudWatch::Alarm", "Held"),
            _resource("AWS::Logs::LogGroup", "/aws/log"),
        ]
    },
    "DescribeRule": {"Arn": RULE, "State": "ENABLED"},
    "ListTargetsByRule": {"Targets": [{"Arn": f"{ARN}:{FUNCTION}"}]},
    "DescribeAlarms": {"MetricAlarms": [_ALARM]},
    "FilterLogEvents": {"events": []},
}
ALARM = _ALARM


def look(world: World, *, before: bool = False) -> dict[str, Finding]:
    """Return what is not well, by its name."""
    found = [one for one in examine(world.anew(), before=before) if not one.is_well]
    assert len({one.name for one in found}) == len(found), found
    return {one.name: one for one in found}


def only(world: World, name: str, *, before: bool = False) -> Finding:
    found = look(world, before=before)
    assert list(found) == [name], found
    return found[name]
