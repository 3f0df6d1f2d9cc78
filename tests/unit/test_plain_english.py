"""What a person reads is in plain words: no riddles, no inverted sentences.

Each pattern is a construction that a reader stumbled over, and what to write instead.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.documents import DOCUMENTS, ROOT, prose

HARD: dict[str, tuple[str, list[str], list[str]]] = {
    # name: (pattern, sentences that must be found, sentences that must pass)
    "is told: write 'is notified'": (
        r"\b(?:is|are|was|were|be|been) told\b(?! apart)",
        ["the client is told", "193 of them were told"],
        ["speaker and listener timeouts are told apart", "I told them"],
    ),
    "hung up on: write 'closed'": (
        r"\b(?:hung|hangs?|hanging) up on\b",
        ["Dan is hung up on", "it hangs up on nobody"],
        ["Hangup closes it", "the call hung"],
    ),
    "dear: write 'expensive'": (
        r"\bdear(?:er|est|ly)?\b",
        ["Long pauses make it dear"],
        ["idea", "it is expensive"],
    ),
    "none of ...'s: write 'not ...'": (
        r"\b(?:is|are|was|were) none of\b|\bneed none of\b",
        ["it is none of SQS's", "you need none of this"],
        ["none of them waits", "none of which failed"],
    ),
    "is none, is no <noun>: write 'is not a ...'": (
        r"(?<!there )(?<!There )\b(?:is|are) (?:none|no)\b(?! (?:longer|more|need|better|later)\b)",
        [
            "A refused message is no activity",
            "a bill that nobody can check is none",
            "ids that are no ids",
        ],
        ["there is no Node.js", "There are none", "it is no longer there", "is not a connection"],
    ),
    "To that comes ...: write 'Add ...'": (
        r"\b(?:To that|To it|Beside that) comes?\b|\bto which comes?\b",
        ["To that comes how late it starts"],
        ["what comes to that queue"],
    ),
    "and at least so many: write 'at least this many'": (
        r"\bso many\b(?! that\b)|\bhow manieth\b",
        ["and at least so many", "every how manieth heartbeat"],
        ["so many that it fills the log"],
    ),
    "has it that, would have it": (
        r"\bwould have it\b|\bhas it that\b",
        ["as the rule would have it"],
        ["it would have closed"],
    ),
    "by its name, what follows calls": (
        r"\bwhat follows calls\b|\bcalls? by its name\b",
        ["which what follows calls by its name"],
        ["call it by that name"],
    ),
    "ought not to be, mend: write 'inconsistent', 'repair'": (
        r"\bought (?:not )?to\b|\bmend(?:s|ed|ing)?\b",
        ["anything that ought not to be", "mend it"],
        ["repair it", "amended", "recommend"],
    ),
    "will do, will not do: write 'is valid'": (
        r"\bwill(?: not)? do\b(?! (?:it|that|this|so|the)\b)|\bdo without\b",
        ["the first that will not do", "CDK does it; we do without"],
        ["it will do that", "do this without Node"],
    ),
    "somebody, whoever at the start: name the thing": (
        r"^(?:Whoever|Who|Whatever)\b(?=[^?]*$)",
        ["Who is active there is left", "Whoever spoke keeps it"],
        ["Whose messages count?", "Who may call it?"],
    ),
    "likewise as a whole cell: repeat the words": (
        r"^\|?.*\| likewise \|$|: likewise\b",
        ["| prepare | x | likewise |", "each of a part of the table: likewise"],
        ["grant it likewise"],
    ),
}


def found_in(text: str) -> Iterator[tuple[str, str]]:
    for name, (pattern, _, _) in HARD.items():
        if re.search(pattern, text):
            yield name, text


@pytest.mark.parametrize("name", HARD)
def test_finds_what_is_hard_and_lets_plain_sentences_pass(name: str) -> None:
    pattern, hard, plain = HARD[name]
    assert [text for text in hard if not re.search(pattern, text)] == []
    assert [text for text in plain if re.search(pattern, text)] == []


def hard_in(file: Path, texts: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    for part in (part for text in texts for part in prose(text)):
        yield from ((str(file.relative_to(ROOT)), name, text) for name, text in found_in(part))


def test_documents_are_in_plain_english() -> None:
    hard = [one for file in DOCUMENTS for one in hard_in(file, [file.read_text()])]
    assert hard == []


SOURCES = [
    file
    for file in sorted((ROOT / "src").rglob("*.py"))
    # Its texts are those of the command line's own parser.
    if file.parent.name != "cli"
]


def texts_in(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value.replace("``", "`")


def test_docstrings_and_messages_are_in_plain_english() -> None:
    hard = [one for file in SOURCES for one in hard_in(file, texts_in(file))]
    assert hard == []
