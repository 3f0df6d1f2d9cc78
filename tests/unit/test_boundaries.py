"""The rules of the house that no import decides; ``lint-imports`` has the others."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.documents import ROOT


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


SOURCES = sorted((ROOT / "src" / "hangup").rglob("*.py"))
BELOW = [file for file in SOURCES if not name_of(file).startswith("src/hangup/cli/")]
"""All but the command line."""
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MOST_LINES = 400

PRINTS = {"src/hangup/aws/telemetry.py": "the embedded metric format is read from standard output"}
"""Where something prints beside the command line, and why."""


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements below a node: a fraction of what ``ast.walk`` goes through."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield child
            yield from statements(child)


def imports(file: Path) -> Iterator[str]:
    """Yield the name of each module that a file imports from."""
    for node in statements(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_file_is_too_long_to_read() -> None:
    lines = {name_of(file): len(file.read_text().splitlines()) for file in SOURCES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_only_the_command_line_prints() -> None:
    prints = [
        f"{name_of(file)}:{node.lineno}"
        for file in BELOW
        if "print" in file.read_text() and name_of(file) not in PRINTS
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Name) and node.id == "print"
    ]
    assert prints == []


def test_only_the_command_line_sees_typer_and_rich() -> None:
    """They are an extra that nothing else needs."""
    seen = [
        f"{name_of(file)} imports {module}"
        for file in BELOW
        for module in imports(file)
        if module.partition(".")[0] in {"rich", "shellingham", "typer"}
    ]
    assert seen == []


def test_no_test_imports_a_test() -> None:
    for file in TESTS:
        # A folder's own helpers, which nobody else uses, stay with it.
        own = name_of(file.parent).replace("/", ".")
        for module in imports(file):
            if module.startswith("tests."):
                line = f"{name_of(file)} imports {module}"
                assert module.startswith(("tests.support", own)), line
                assert ".test_" not in module, line


def test_only_a_package_lists_its_names() -> None:
    """A module's names are public unless they begin with an underscore: no list can miss one."""
    modules = [file for file in SOURCES if file.name != "__init__.py"]
    assert [name_of(file) for file in modules if "__all__" in file.read_text()] == []
