"""The rules of the house that no import decides; ``lint-imports`` has the others."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documents import ROOT

SOURCES = sorted((ROOT / "src" / "hangup").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MOST_LINES = 400

PRINTS = {"src/hangup/aws/telemetry.py": "the embedded metric format is read from standard output"}
"""Where something prints beside the command line, and why."""


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(file: Path) -> Iterator[str]:
    """Yield the name of each module that a file imports from."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_no_file_is_too_long_to_read(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_only_the_command_line_prints(file: Path) -> None:
    prints = [
        node.lineno
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Name) and node.id == "print"
    ]
    if name_of(file) not in PRINTS and not name_of(file).startswith("src/hangup/cli/"):
        assert prints == []


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_only_the_command_line_sees_typer_and_rich(file: Path) -> None:
    """They are an extra that nothing else needs."""
    if not name_of(file).startswith("src/hangup/cli/"):
        packages = {module.partition(".")[0] for module in imports(file)}
        assert not packages & {"rich", "shellingham", "typer"}


@pytest.mark.parametrize("file", TESTS, ids=name_of)
def test_no_test_imports_a_test(file: Path) -> None:
    shared = ("tests.support",)
    # A folder's own helpers, which nobody else uses, stay with it.
    own = name_of(file.parent).replace("/", ".")
    for module in imports(file):
        if module.startswith("tests."):
            assert module.startswith((*shared, own)), module
            assert ".test_" not in module, module


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_only_a_package_lists_its_names(file: Path) -> None:
    """A module's names are public unless they begin with an underscore: no list can miss one."""
    assert file.name == "__init__.py" or "__all__" not in file.read_text()
