"""What a deployed stack has otherwise than its description says, and what it keeps."""

import json

import pytest

from hangup import __version__
from hangup.aws.stacks import StackState
from hangup.ops.deployment_file import Deployment
from hangup.ops.drift import Difference, differences, other_version
from hangup.ops.template import timeout_template
from tests.support.doctor_stub import FILE

TEMPLATE = json.loads(timeout_template())
RECORDED = ("timeout.activity=recorded", 'table.last_activity={attribute="last"}')
COUNTS = "LastActiveCounts"


def held(**parameters: str) -> StackState:
    return StackState(
        stack_id="chat-hangup",
        status="UPDATE_COMPLETE",
        parameters=parameters,
        outputs={},
        tags={},
        is_protected=False,
    )


def drift(state: StackState, *overrides: str) -> list[Difference]:
    deployment = Deployment.from_text(FILE, "hangup.toml", overrides)
    return list(differences(deployment, state, TEMPLATE))


def test_what_the_file_says_and_the_defaults_are_compared() -> None:
    state = held(IdleTimeoutSeconds="120", Mode="observe", CodeBucket="any", CodeKey="any")
    assert drift(state) == [Difference("Mode", "observe", "close")]
    assert drift(state, "timeout.mode=observe", "timeout.idle_seconds=300") == [
        Difference("IdleTimeoutSeconds", "120", "300")
    ]


def test_a_parameter_of_another_version_is_no_difference() -> None:
    assert drift(held(NoMore="1")) == []


@pytest.mark.parametrize(
    ("counts", "settings", "stays"),
    [
        ("client", RECORDED, True),
        ("both", RECORDED, True),
        ("client", (), True),
        ("both", (), False),  # not with the activity that API Gateway counts
        ("both", ("timeout.activity=recorded",), False),  # and not where no time is recorded
        ("both", (*RECORDED, "timeout.last_active_counts=unsettled"), False),
    ],
)
def test_what_was_measured_stays_unless_the_file_says_something_else(
    counts: str, settings: tuple[str, ...], stays: bool
) -> None:
    deployment = Deployment.from_text(FILE, "hangup.toml", settings)
    assert deployment.kept({COUNTS: counts}) == ({COUNTS: counts} if stays else {})
    expected = [] if stays else [Difference(COUNTS, counts, "unsettled")]
    assert drift(held(**{COUNTS: counts}), *settings) == expected


def test_a_new_stack_keeps_nothing() -> None:
    assert Deployment.from_text(FILE, "hangup.toml").kept({}) == {}


def test_the_version_of_a_stack() -> None:
    state = held()
    assert other_version(state) == "an older version"
    state.outputs["HangupVersion"] = __version__  # type: ignore[index]
    assert other_version(state) is None
