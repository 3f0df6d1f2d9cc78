"""Every alarm of the construct and of the reference stack has a runbook page that is true."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hangup.local.deploy import packaged_template
from tests.support.documents import ROOT, page, table
from tests.support.templates import Resources

RUNBOOKS = {file.stem: file.read_text() for file in (ROOT / "docs/operate/runbooks").glob("*.md")}
SOURCES = "\n".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
SECTIONS = [
    "What it means",
    "What to look at",
    "What to do",
    "When it is a false alarm",
]


def alarms(*, precise: bool) -> Mapping[str, Mapping[str, Any]]:
    """Return the alarms of a stack, by their names in the code."""
    found = Resources(template=packaged_template(precise=precise)).of_type("AWS::CloudWatch::Alarm")
    return {
        # CDK adds a hash of eight digits to the path of the construct.
        re.sub(r"^(?:IdleTimeout)?(?:ScheduledCloses)?(\w+?)[0-9A-F]{8}$", r"\1", name): alarm
        for name, alarm in found.items()
    }


ALARMS = {
    **alarms(precise=True),
    **alarms(precise=False),
    # Of IdleConnectionTimeout.track, which the reference stack does not call: its handlers fail
    # where they cannot record.
    "NotRecorded": {
        "EvaluationPeriods": 1,
        "MetricName": "ActivityNotRecorded",
        "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold",
        "AlarmDescription": "Critical: ",
    },
}


def page_of(alarm: str) -> str:
    """Return the name of the alarm's page: NoSweep has ``no-sweep.md``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alarm).lower()


def test_the_names_of_alarms_are_found_in_the_template() -> None:
    assert {"NoSweep", "ClosesBehind", "CleanupsFailed", "CloseHandlerFails"} <= set(ALARMS)


def test_every_alarm_has_a_page_and_every_page_an_alarm() -> None:
    assert set(RUNBOOKS) == {page_of(alarm) for alarm in ALARMS}


def test_every_page_is_in_the_table_of_alarms_and_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for name in RUNBOOKS:
        assert f"(runbooks/{name}.md)" in page("operate/alarms")
        assert f": operate/runbooks/{name}.md\n" in navigation


@pytest.mark.parametrize("alarm", ALARMS)
def test_says_when_it_rings(alarm: str) -> None:
    ((name, rings, severity, of),) = table("Alarm", RUNBOOKS[page_of(alarm)])
    properties = ALARMS[alarm]
    assert name == f"`{alarm}`"
    minutes = properties["EvaluationPeriods"]
    metric, bound = properties["MetricName"], properties["Threshold"]
    if properties["ComparisonOperator"] == "LessThanThreshold":
        assert rings.startswith(f"no `{metric}` for {minutes} minutes")
    else:
        assert f"`{metric}` > {bound}" in rings
        assert (f"for {minutes} minutes" if minutes > 1 else "in a minute") in rings
    described = re.match(r"(Warning|Critical): ", properties["AlarmDescription"])
    assert severity == (described[1].lower() if described else "none")
    assert ("with `precise`" in of) == (
        alarm in set(alarms(precise=True)) - set(alarms(precise=False))
    )


@pytest.mark.parametrize("name", RUNBOOKS)
def test_has_what_somebody_needs_at_night(name: str) -> None:
    assert re.findall(r"^## (.*)$", RUNBOOKS[name], re.MULTILINE) == SECTIONS
    _, _, look = RUNBOOKS[name].partition("## What to look at\n")
    look = look.partition("## What to do\n")[0]
    assert "```console\n$ " in look or "| filter " in look


@pytest.mark.parametrize("name", RUNBOOKS)
def test_queries_look_for_messages_that_the_code_logs(name: str) -> None:
    for query in re.findall(r"^\| filter (.*)$", RUNBOOKS[name], re.MULTILINE):
        for message in re.findall(r'"([^"]+)"', query):
            assert message == "ERROR" or f'"{message}' in SOURCES, message


@pytest.mark.parametrize(
    "document", ["operate/alarms", *(f"operate/runbooks/{n}" for n in RUNBOOKS)]
)
def test_names_in_capitals_are_outputs_or_said_to_be_placeholders(document: str) -> None:
    outputs = {
        re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()
        for name in packaged_template(precise=True)["Outputs"]
    }
    commands = "\n".join(re.findall(r"```console\n(.*?)```", page(document), re.DOTALL))
    placeholders = set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", commands))
    assert placeholders - {"CONNECTION_ID"} <= {
        *outputs,
        *(name.replace("_U_R_L", "_URL") for name in outputs),
    }


def test_reads_no_page_by_accident() -> None:
    assert all(isinstance(text, str) and text for text in RUNBOOKS.values())
    assert Path(ROOT / "docs/operate/runbooks").is_dir()
