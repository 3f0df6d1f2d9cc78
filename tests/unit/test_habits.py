"""What helps people to work on the project names tools, commands and files that exist."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.documents import README, ROOT

WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
JOBS: dict[str, Any] = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_action_is_pinned_by_a_whole_commit_and_names_its_version() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in uses)


def test_the_workflow_may_only_read_the_code_and_keeps_no_credentials() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in JOBS.values())
    checkouts = [step for step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(JOBS)
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


def test_the_workflow_runs_the_commands_of_the_documents() -> None:
    commands = {step["run"] for step in STEPS if "run" in step}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert commands == {
        "make demo",
        "make check",
        "make test",
        "make test-reliability",
        "make docs",
    }
    assert {command.removeprefix("make ") for command in commands} <= targets
    assert all(command in README + CONTRIBUTING for command in commands)


def test_the_workflow_runs_on_linux_and_macos_and_from_the_oldest_python_on() -> None:
    matrix = JOBS["check"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos"}
    assert PROJECT["requires-python"] == f">={matrix['python'][0]}"
    minors = [int(version.removeprefix("3.")) for version in matrix["python"]]
    assert minors == list(range(minors[0], minors[-1] + 1))
    named = [
        found[1]
        for one in PROJECT["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", one))
    ]
    assert set(named) <= set(matrix["python"])


def test_hooks_are_local_and_call_the_projects_own_tools() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [one["repo"] for one in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    for hook in hooks:
        tool, *arguments = hook["entry"].split()
        assert tool.startswith(".venv/bin/")
        files = [argument for argument in arguments if argument.startswith("tests/")]
        assert all((ROOT / file).is_file() for file in files)


def test_the_hooks_are_those_of_make_check() -> None:
    check = "".join(
        re.findall(
            r"^check[a-z-]*:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
        )
    )
    (hooks,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    tools = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks["hooks"]}
    assert all(f"$(BIN)/{tool}" in check for tool in tools)


@pytest.mark.parametrize("name", ["bug", "idea"])
def test_issue_forms_have_what_the_host_needs(name: str) -> None:
    form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text())
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 0
    assert all("label" in f["attributes"] for f in form["body"] if f["type"] != "markdown")


def test_files_named_in_templates_exist() -> None:
    for file in Path(ROOT / ".github").rglob("*.*"):
        for name in re.findall(r"\b[A-Z]+\.md\b", file.read_text()):
            assert (ROOT / name).is_file(), name


FILE = re.compile(
    r"`((?:core|idle|aws|cli|cdk|handlers|ops|planner|testing|sessions|local)/[a-z_/]+\.py)`"
)


def test_files_and_folders_named_in_contributing_exist() -> None:
    files = FILE.findall(CONTRIBUTING)
    assert len(files) > 20
    assert [file for file in files if not (ROOT / "src/hangup" / file).is_file()] == []
    others = re.findall(
        r"`((?:docs|tests|examples|requirements|benchmarks)/[\w./-]+)`", CONTRIBUTING
    )
    assert [file for file in others if not (ROOT / file).exists()] == []


def test_names_in_the_recipes_of_contributing_are_in_the_files_that_they_name() -> None:
    _, _, recipes = CONTRIBUTING.partition("## How to add\n")
    recipes = recipes.partition("## Style, by example")[0]
    for file, names in (
        ("core/report.py", ["SweepReport", "ClosesReport", "Count", "metrics"]),
        ("core/outcomes.py", ["CloseCounter"]),
        ("planner/assumptions.py", ["METRICS"]),
        ("core/connection.py", ["Connection"]),
        ("aws/schema.py", ["TableSchema", "decode", "_READ_BY_SWEEPS"]),
        ("core/events.py", ["client_of", "route_of"]),
        ("ports.py", ["record_activity"]),
    ):
        text = (ROOT / "src/hangup" / file).read_text()
        assert f"`{file}`" in recipes
        assert all(f"`{name}" in recipes and name in text for name in names), file
