"""Only the schemas know what an attribute of a table is called.

Looked for in every text of ``src`` that is no docstring. Messages, events and queries have members
that are called like attributes; where those are written, they are allowed by name.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import hangup
from hangup.aws.schema import DEFAULT_SCHEMA
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA
from tests.support.schemas import attributes_of

SOURCES: Final = Path(hangup.__file__).parent
HOMES: Final = ("aws/schema.py", "aws/session_schema.py")
NAMES: Final = frozenset(
    name
    for schema in (DEFAULT_SCHEMA, DEFAULT_SESSION_SCHEMA)
    for name in attributes_of(schema).values()
)
ELSEWHERE: Final = {
    # Members of Lambda's events.
    "core/events.py": {"connectionId", "connectedAt", "sessionId", "role"},
    # Fields of a schema, that are called like the attributes of the reference application.
    "aws/schema_checks.py": {"role", "handovers"},
    "ops/table_settings.py": {"role", "handovers"},
    "aws/expressions.py": {"handovers"},
    # A member of API Gateway's answers.
    "aws/http/services.py": {"connectedAt"},
    # Members of the queue's messages.
    "core/scheduled_close.py": {
        "connectionId",
        "sessionId",
        "role",
        "connectedAt",
        "lastActivityTime",
        "gatewayActiveAt",
        "noticedAt",
        "handovers",
    },
    # Members of queries, join tokens and messages; log lines.
    "sessions/": {"sessionId", "role", "targetLanguage"},
    # Members of what `hangup check --json` prints.
    "sessions/check.py": {"connectionId", "speakerConnectionId"},
    # Queries, and members of what `hangup token --json` prints.
    "cli/": {"sessionId", "role", "expiresAt"},
    # Members of what `hangup explain --json` and `hangup status --json` print.
    "cli/explain.py": {
        "connectionId",
        "connectedAt",
        "lastActivityTime",
        "gatewayActiveAt",
        "noticedAt",
        "handovers",
    },
    "cli/status.py": {"connectionId"},
    # Fields of log lines.
    "ops/explain.py": {"connectionId"},
    "ops/log_tail.py": {"connectionId", "sessionId", "role"},
    # IAM's word for what a function may do.
    "ops/doctor_case.py": {"role"},
    # Members of what `hangup sweep --json` prints.
    "ops/sweep.py": {"connectionId", "role"},
    # API Gateway's answers, queries, messages and fields of log lines.
    "local/": {"connectionId", "connectedAt", "sessionId", "role"},
}
"""What else may say which name: files, and folders with a slash at the end."""


def texts_in(source: str) -> Iterator[tuple[int, str]]:
    """Yield every text of a module that is no docstring, with its line."""
    tree = ast.parse(source)
    statements = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    docstrings = {id(value) for value in statements if isinstance(value, ast.Constant)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ):
            yield node.lineno, node.value


def names_in(text: str) -> set[str]:
    """Return the attributes that a text names.

    One that is also an English word counts where it is the whole text, or a name in an expression.
    """
    words = set(re.findall(r"\w+", text)) & NAMES
    return {word for word in words if word != word.lower() or text.strip("# ") == word}


def strays_in(path: str, source: str) -> list[str]:
    """Return where a module names an attribute and may not."""
    if path in HOMES:
        return []
    allowed: set[str] = set()
    for place, names in ELSEWHERE.items():
        if path == place or (place.endswith("/") and path.startswith(place)):
            allowed |= names
    return [
        f"{path}:{line}: {name}"
        for line, text in texts_in(source)
        for name in sorted(names_in(text) - allowed)
    ]


def test_no_other_module_names_an_attribute() -> None:
    strays = [
        stray
        for path in sorted(SOURCES.rglob("*.py"))
        for stray in strays_in(path.relative_to(SOURCES).as_posix(), path.read_text())
    ]
    assert strays == []


@pytest.mark.parametrize("place", ELSEWHERE)
def test_every_exception_is_needed(place: str) -> None:
    paths = (SOURCES / place).rglob("*.py") if place.endswith("/") else [SOURCES / place]
    texts = [text for path in paths for _, text in texts_in(path.read_text())]
    assert ELSEWHERE[place] <= set().union(*map(names_in, texts))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ('KEY = {"connectionId": {"S": "c1"}}', "connectionId"),
        ('UPDATE = "SET lastActivityTime = :now"', "lastActivityTime"),
        ('def f(name):\n    """Of role."""\n    return f"REMOVE claimToken, {name}"', "claimToken"),
        ('NAMES = {"#role": "role"}', "role"),
    ],
)
def test_finds_a_name_in_any_text(source: str, name: str) -> None:
    found = {stray.rpartition(" ")[2] for stray in strays_in("aws/connections.py", source)}
    assert found == {name}


def test_docstrings_and_common_words_are_no_names() -> None:
    source = '"""Of lastActivityTime."""\nERROR = "the role is malformed"\n'
    assert strays_in("aws/connections.py", source) == []
