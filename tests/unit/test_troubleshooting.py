"""The messages that the troubleshooting page explains are those of the code."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

import pytest

from hangup.ops.deployment_file import FILE_NAME
from hangup.ops.lambda_zips import DISTRIBUTION
from tests.support.documents import ROOT, page

_VARIABLE: Final = "..."
_NAMES: Final = {"FILE_NAME": FILE_NAME, "DISTRIBUTION": DISTRIBUTION}
"""What the page writes out."""

MESSAGES: Final = re.findall(r"(?m)^\| `(.+?)` \|", page("operate/troubleshooting"))


def _strings_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=parts):
                yield "".join(map(_part, parts))


def _part(part: ast.expr) -> str:
    match part:
        case ast.Constant(value=text):
            return str(text)
        case ast.FormattedValue(value=ast.Name(id=name)):
            return _NAMES.get(name, _VARIABLE)
    return _VARIABLE


@cache
def _of_the_code() -> Sequence[str]:
    files = (ROOT / "src").rglob("*.py")
    return [text for file in files for text in _strings_in(file.read_text())]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_explained_is_one_of_the_code(message: str) -> None:
    assert any(message in text for text in _of_the_code())


def test_the_page_has_messages_and_another_text_is_none() -> None:
    assert len(MESSAGES) > 20
    assert not any("activity not recoded" in text for text in _of_the_code())
    assert next(_strings_in('f"no {FILE_NAME} in {b.c}, " "or so"')) == (
        f"no {FILE_NAME} in {_VARIABLE}, or so"
    )
