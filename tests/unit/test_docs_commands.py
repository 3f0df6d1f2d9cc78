"""The documents and the command line have the same commands and options."""

import re

import pytest

from hangup.cli.app import main
from tests.support.documents import DOCUMENTS, ROOT, table

PAGE = ROOT / "docs" / "reference" / "command-line.md"
SECTIONS = dict(re.findall(r"(?ms)^## hangup (\w+)\n(.*?)(?=^## |\Z)", PAGE.read_text()))

# A command and what follows it: to the end of its line, its code span, its cell or its shell
# command. A comment is no part of it.
CALL = re.compile(r"(?m)(?:^|`|\$ |: )(?:\.venv/bin/)?hangup ([a-z]+)\b([^\n`|#]*)")


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    return capsys.readouterr().out


def options_in(text: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]*", text))


def options_of(capsys: pytest.CaptureFixture[str], command: str) -> set[str]:
    """Return the options of a command: each begins a line of its help."""
    found = re.findall(r"^ {2}(--[a-z-]+)", help_of(capsys, command), re.MULTILINE)
    return set(found) - {"--help"}


def test_every_command_has_a_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(SECTIONS) == re.findall(r"^ {4}(\w+) ", help_of(capsys), re.MULTILINE)


@pytest.mark.parametrize("command", SECTIONS)
def test_every_option_of_a_command_is_documented_and_exists(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    documented = [options_in(row[0]) for row in table("Option", SECTIONS[command])]
    assert all(len(option) == 1 for option in documented)
    assert set().union(*documented) == options_of(capsys, command)


def test_every_command_and_option_in_a_document_exists(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {command: options_of(capsys, command) | {"--help"} for command in SECTIONS}
    for document in DOCUMENTS:
        for command, rest in CALL.findall(document.read_text()):
            assert command in SECTIONS, f"{document.name}: hangup {command}"
            assert options_in(rest) <= options[command], f"{document.name}: hangup {command}{rest}"


def test_such_calls_are_found() -> None:
    text = """
$ hangup plan --json | jq .x --y   # with --z
See `hangup up --port 1` and `--precise`, and `pip install ./hangup boto3`.
Another token: .venv/bin/hangup token --role speaker
| `hangup check` | `--fix` repairs |
"""
    assert [(command, *sorted(options_in(rest))) for command, rest in CALL.findall(text)] == [
        ("plan", "--json"),
        ("up", "--port"),
        ("token", "--role"),
        ("check",),
    ]
