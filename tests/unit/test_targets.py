"""Each test is run by CI, and by one of the targets that it calls alone."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.documents import ROOT

# It collects every test.
pytestmark = pytest.mark.slow

COLLECT = """
import json, sys
import pytest

class Listing:
    def pytest_collection_finish(self, session):
        tests = {one.nodeid: [mark.name for mark in one.iter_markers()] for one in session.items}
        with open(sys.argv[1], "w") as file:
            json.dump(tests, file)

sys.exit(pytest.main(["tests", "--collect-only", "-q"], plugins=[Listing()]))
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a command of a target runs: tests below the paths, that have such marks."""

    paths: Sequence[str]
    ignored: Sequence[str]
    marks: str

    def has(self, test: str, marks: Sequence[str]) -> bool:
        file = test.partition("::")[0]
        places = {file, *map(str, Path(file).parents)}
        is_named = not places.isdisjoint(self.paths) and places.isdisjoint(self.ignored)
        return is_named and is_true(self.marks, marks)


def is_true(expression: str, marks: Sequence[str]) -> bool:
    """Evaluate what follows ``-m``: marks, ``and``, ``or``, ``not`` and parentheses."""
    words = {word: word in marks for word in re.findall(r"\w+", expression)}
    return bool(eval(expression, {"__builtins__": {}}, words))  # noqa: S307 - the Makefile's own


def runs() -> Iterator[Run]:
    """Yield what the targets of ``.ci/run`` would have pytest run."""
    targets = re.findall(r"^make ([a-z-]+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    printed = subprocess.run(
        ["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for line in printed.splitlines():
        _, is_pytest, rest = line.partition(" -m pytest ")
        if is_pytest:
            words = shlex.split(rest)
            yield Run(
                paths=[word for word in words if word.startswith("tests")],
                ignored=[w.removeprefix("--ignore=") for w in words if w.startswith("--ignore=")],
                marks=words[words.index("-m") + 1],
            )


def test_each_test_is_run_by_one_target_of_ci(tmp_path: Path) -> None:
    listing = tmp_path / "tests.json"
    subprocess.run(
        [sys.executable, "-c", COLLECT, listing], cwd=ROOT, stdout=subprocess.DEVNULL, check=True
    )
    tests = json.loads(listing.read_text())
    assert len(tests) > 1_000
    commands = list(runs())
    times = {
        test: sum(command.has(test, marks) for command in commands) for test, marks in tests.items()
    }
    assert {test: count for test, count in times.items() if count != 1} == {}
