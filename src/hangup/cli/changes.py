"""How a change of a stack looks: what it would do, what happens, and what came of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from hangup.aws.stacks import Change, StackEvent, StackState
from hangup.cli.output import say, width

_STYLES: Final = {"Add": "green", "Modify": "yellow", "Replace": "red", "Remove": "red"}
_COLUMN: Final = 9


def say_changes(changes: Sequence[Change]) -> None:
    """Print what is added, by kind, and each resource that is changed or removed."""
    added = Counter(one.resource_type for one in changes if one.action == "Add")
    for kind, count in sorted(added.items()):
        _say_change("Add", f"{_short(kind)}{f' ({count})' if count > 1 else ''}")
    for one in changes:
        if one.action != "Add":
            action = "Replace" if one.replaced == "True" else one.action
            _say_change(action, f"{_short(one.resource_type)} {one.logical_id}")


def changes_as_json(changes: Sequence[Change]) -> Sequence[Mapping[str, str]]:
    """Return the changes for programs."""
    return [
        {
            "action": one.action,
            "logicalId": one.logical_id,
            "type": one.resource_type,
            "replacement": one.replaced,
        }
        for one in changes
    ]


def say_event(event: StackEvent) -> None:
    """Print what was done to a resource, or not, and why where CloudFormation says so."""
    if (
        event.status.endswith("_IN_PROGRESS")
        and event.resource_type != "AWS::CloudFormation::Stack"
    ):
        return
    style = "red" if event.status.endswith("FAILED") or "ROLLBACK" in event.status else "dim"
    what = f"{_short(event.resource_type)} {event.logical_id}"
    say((f"{event.status:<28}", style), _cut(what, width() - 28))
    if event.is_cause and event.reason:
        say((f"  {event.reason}", "red"))


def say_outputs(state: StackState) -> None:
    """Print the outputs of a stack."""
    longest = max(map(len, state.outputs), default=0)
    for name, value in sorted(state.outputs.items()):
        say((f"{name:<{longest}}", "bold"), f"  {value}")


def goes_on(stack: str) -> str:
    """Return what an interruption means while a stack is changed."""
    return (
        f"what CloudFormation has begun in the stack {stack} goes on; run the same command again to"
        " follow it"
    )


def _say_change(action: str, what: str) -> None:
    say((f"{action:<{_COLUMN}}", _STYLES.get(action, "")), _cut(what, width() - _COLUMN))


def _short(kind: str) -> str:
    return kind.removeprefix("AWS::")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
