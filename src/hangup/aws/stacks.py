"""CloudFormation stacks: found, changed by change sets that can be looked at, and followed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from hangup.aws.retries import Calls, pages
from hangup.core.connection import DurationMs
from hangup.errors import BackendError
from hangup.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import (
        ChangeTypeDef,
        DescribeChangeSetOutputTypeDef,
        ParameterTypeDef,
        StackEventTypeDef,
        StackTypeDef,
    )

_POLL_MS: Final = DurationMs(2_000)
_NO_CHANGE: Final = ("didn't contain changes", "No updates are to be performed")
"""What CloudFormation says of a change set without changes (its API has no code for it)."""

_NOT_YET: Final = ("CREATE_PENDING", "CREATE_IN_PROGRESS")

NEW: Final = "REVIEW_IN_PROGRESS"
"""The state of a stack that has a change set and nothing else yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """A stack as CloudFormation describes it."""

    stack_id: str
    status: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    tags: Mapping[str, str]
    is_protected: bool

    @property
    def is_changing(self) -> bool:
        """Whether somebody's change is under way."""
        return self.status.endswith("_IN_PROGRESS") and self.status != NEW

    @property
    def is_failed_creation(self) -> bool:
        """Whether its creation failed: it has nothing in it, and can only be deleted."""
        return self.status in {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"}

    @property
    def is_well(self) -> bool:
        """Whether its last change was done."""
        return self.status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a change set does to one resource. ``replaced``: ``True``, ``False`` or a condition."""

    action: str
    logical_id: str
    resource_type: str
    replaced: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """A change that was worked out and not made. ``is_creation``: there was no stack before."""

    change_set_id: str
    stack_id: str
    is_creation: bool
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackEvent:
    """What happened to a resource, or to the stack itself."""

    event_id: str
    logical_id: str
    resource_type: str
    status: str
    reason: str

    @property
    def is_cause(self) -> bool:
        """Whether this is a failure of its own, and not the consequence of another."""
        return self.status.endswith("_FAILED") and "cancelled" not in self.reason.lower()


class Stacks:
    """The stacks of one account and Region. Every method raises ``BackendError``."""

    def __init__(
        self,
        client: "CloudFormationClient",
        calls: Calls,
        clock: Clock,
        *,
        poll_ms: DurationMs = _POLL_MS,
    ) -> None:
        self._client = client
        self._calls = calls
        self._clock = clock
        self._poll_ms = poll_ms

    def find(self, stack: str) -> StackState | None:
        """Return a stack by its name or id, ``None`` if there is none."""
        try:
            answer = self._calls(
                "DescribeStacks", lambda: self._client.describe_stacks(StackName=stack)
            )
        except BackendError as error:
            if error.code == "ValidationError" and "does not exist" in str(error):
                return None
            raise
        state = _state(answer["Stacks"][0])
        return None if state.status == "DELETE_COMPLETE" else state

    def change_sets(self, stack: str, state: StackState) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield the name and the parameters of each change set of a stack, by its name."""
        listed = self._calls(
            "ListChangeSets", lambda: self._client.list_change_sets(StackName=stack)
        )
        for summary in listed["Summaries"]:
            # Others are of an earlier stack of this name.
            if summary["StackId"] == state.stack_id:
                described = self._described(stack, summary["ChangeSetId"])
                yield summary["ChangeSetName"], _by_key(described.get("Parameters", []))

    def propose(  # noqa: PLR0913 - what CloudFormation asks for
        self,
        name: str,
        *,
        template: str | None,
        parameters: Mapping[str, str],
        kept: Sequence[str] = (),
        tags: Mapping[str, str],
        is_creation: bool,
        change_set: str,
    ) -> ChangeSet | None:
        """Work a change out and return it; None if the stack is as it should be.

        ``template`` None is the one that the stack has. ``kept`` are parameters that keep their
        values. ``change_set`` is the name that it gets.
        """
        values: list[ParameterTypeDef] = [
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ]
        values += [{"ParameterKey": key, "UsePreviousValue": True} for key in kept]
        given: dict[str, Any] = (
            {"UsePreviousTemplate": True} if template is None else {"TemplateBody": template}
        )
        created = self._calls(
            "CreateChangeSet",
            lambda: self._client.create_change_set(
                StackName=name,
                ChangeSetName=change_set,
                ChangeSetType="CREATE" if is_creation else "UPDATE",
                Capabilities=["CAPABILITY_IAM"],
                Parameters=values,
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                **given,
            ),
            # The name is new each time, so what was not answered is known by it.
            repeat_unanswered=False,
        )
        change_set_id, stack_id = created["Id"], created["StackId"]
        proposed = ChangeSet(
            change_set_id=change_set_id, stack_id=stack_id, is_creation=is_creation, changes=()
        )
        try:
            while (now := self._described(stack_id, change_set_id))["Status"] in _NOT_YET:
                self._clock.sleep(self._poll_ms)
        except KeyboardInterrupt:
            # Best effort: the next run goes on from what is left.
            with suppress(BackendError):
                self.discard(proposed)
            raise
        if now["Status"] == "FAILED":
            reason = now.get("StatusReason", "no reason given")
            self.discard(proposed)
            if any(said in reason for said in _NO_CHANGE):
                return None
            raise BackendError("CreateChangeSet", "FAILED", reason, retryable=False)
        read = [now]
        if "NextToken" in now:
            request = {"ChangeSetName": change_set_id, "StackName": stack_id}
            rest = request | {"NextToken": now["NextToken"]}
            describe = self._client.describe_change_set
            read += pages(self._calls, "DescribeChangeSet", describe, rest)
        changes = [_change(one) for page in read for one in page.get("Changes", [])]
        return replace(proposed, changes=changes)

    def _described(self, stack: str, change_set: str) -> "DescribeChangeSetOutputTypeDef":
        return self._calls(
            "DescribeChangeSet",
            lambda: self._client.describe_change_set(ChangeSetName=change_set, StackName=stack),
        )

    def discard(self, change_set: ChangeSet) -> None:
        """Forget a change that was worked out, and the stack that has nothing but it."""
        if change_set.is_creation:
            state = self.find(change_set.stack_id)
            if state is not None and state.status == NEW:
                self.delete(change_set.stack_id, happens=_ignore)
            return
        self._calls(
            "DeleteChangeSet",
            lambda: self._client.delete_change_set(
                ChangeSetName=change_set.change_set_id, StackName=change_set.stack_id
            ),
        )

    def execute(
        self, change_set: ChangeSet, *, happens: Callable[[StackEvent], None]
    ) -> StackState | None:
        """Make a change, tell of each event, and return the stack as it is then."""
        last = self._last_event(change_set.stack_id)
        self._calls(
            "ExecuteChangeSet",
            lambda: self._client.execute_change_set(
                ChangeSetName=change_set.change_set_id, StackName=change_set.stack_id
            ),
            repeat_unanswered=False,
        )
        return self._follow(change_set.stack_id, happens, last=last)

    def delete(self, stack_id: str, *, happens: Callable[[StackEvent], None]) -> StackState | None:
        """Delete a stack, tell of each event, and return None once it is gone, else how it is."""
        last = self._last_event(stack_id)
        self._calls("DeleteStack", lambda: self._client.delete_stack(StackName=stack_id))
        return self._follow(stack_id, happens, last=last)

    def follow(self, stack_id: str, *, happens: Callable[[StackEvent], None]) -> StackState | None:
        """Tell of what happens from now on until nothing changes any more; return the stack."""
        return self._follow(stack_id, happens, last=self._last_event(stack_id))

    def resources(self, stack: str) -> Sequence[tuple[str, str]]:
        """Return the type and the logical id of each resource that a stack has."""
        answer = self._calls(
            "DescribeStackResources", lambda: self._client.describe_stack_resources(StackName=stack)
        )
        return [
            (one["ResourceType"], one["LogicalResourceId"])
            for one in answer["StackResources"]
            if one["ResourceStatus"] != "DELETE_COMPLETE"
        ]

    def _follow(
        self, stack_id: str, happens: Callable[[StackEvent], None], *, last: str | None
    ) -> StackState | None:
        while True:
            state = self.find(stack_id)
            for event in self._events_since(stack_id, last):
                happens(event)
                last = event.event_id
            if state is None or not state.is_changing:
                return state
            self._clock.sleep(self._poll_ms)

    def _last_event(self, stack_id: str) -> str | None:
        return next((one["EventId"] for one in self._events(stack_id)), None)

    def _events_since(self, stack_id: str, last: str | None) -> Sequence[StackEvent]:
        """Return what happened after an event, in order."""
        # The newest come first.
        since = list(takewhile(lambda one: one["EventId"] != last, self._events(stack_id)))
        return [_event(one) for one in reversed(since)]

    def _events(self, stack_id: str) -> "Iterator[StackEventTypeDef]":
        call = self._client.describe_stack_events
        for page in pages(self._calls, "DescribeStackEvents", call, {"StackName": stack_id}):
            yield from page["StackEvents"]


def _ignore(_event: StackEvent) -> None:
    """Tell nobody: the stack has nothing in it."""


def _state(stack: "StackTypeDef") -> StackState:
    return StackState(
        stack_id=stack["StackId"],
        status=stack["StackStatus"],
        parameters=_by_key(stack.get("Parameters", [])),
        outputs={one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])},
        tags={one["Key"]: one["Value"] for one in stack.get("Tags", [])},
        is_protected=stack.get("EnableTerminationProtection", False),
    )


def _by_key(parameters: Sequence["ParameterTypeDef"]) -> Mapping[str, str]:
    return {one["ParameterKey"]: one.get("ParameterValue", "") for one in parameters}


def _change(change: "ChangeTypeDef") -> Change:
    resource = change["ResourceChange"]
    return Change(
        action=resource["Action"],
        logical_id=resource["LogicalResourceId"],
        resource_type=resource["ResourceType"],
        replaced=resource.get("Replacement", ""),
    )


def _event(event: "StackEventTypeDef") -> StackEvent:
    return StackEvent(
        event_id=event["EventId"],
        logical_id=event.get("LogicalResourceId", ""),
        resource_type=event.get("ResourceType", ""),
        status=event.get("ResourceStatus", ""),
        reason=event.get("ResourceStatusReason", ""),
    )
