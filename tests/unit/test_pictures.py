"""The README's picture shows what a demo printed, and needs nothing from elsewhere."""

import re

import pytest

from docs.pictures import draw, shown
from docs.screens import FOLDER, NAMES
from tests.support.documents import DOCUMENTS, README, ROOT, picture_lines

PICTURE = (ROOT / "docs" / "demo.svg").read_text()
SCREENS = {file.stem: file.read_text() for file in sorted(FOLDER.glob("*.svg"))}


def test_the_readme_shows_the_picture() -> None:
    assert "](docs/demo.svg)" in README


@pytest.mark.parametrize("picture", [PICTURE, *SCREENS.values()], ids=["demo", *SCREENS])
def test_it_fetches_nothing_from_elsewhere(picture: str) -> None:
    fetched = re.findall(r"(?:href|src|xmlns)[\w:]*=\"([^\"]*)\"", picture)
    assert set(fetched) <= {"http://www.w3.org/2000/svg"}
    assert all(name.startswith("#") for name in re.findall(r"url\(([^)]*)\)", picture))
    assert "@import" not in picture
    assert "<script" not in picture


@pytest.mark.parametrize("name", NAMES)
def test_a_screen_shows_its_command_and_a_page_shows_the_screen(name: str) -> None:
    lines = picture_lines(SCREENS[name])
    assert lines[0].startswith(f"$ hangup {name} ") or lines[0] == f"$ hangup {name}"
    assert len(lines) > 3
    assert not any("Traceback" in line for line in lines)
    shown_by = [page for page in DOCUMENTS if f"](../screens/{name}.svg)" in page.read_text()]
    assert len(shown_by) == 1


def test_every_line_is_there_unchanged_and_in_order() -> None:
    lines = ["   0.5 s  Ada <joins> & talks.", "x" * 130, "\x1b[32m  ok\x1b[0m    it holds"]
    assert picture_lines(draw(lines)) == [
        "$ make demo",
        "   0.5 s  Ada <joins> & talks.",
        "x" * 130,
        "  ok    it holds",
    ]


def test_leaves_out_only_sweeps_that_closed_nobody_and_what_moves_a_cursor() -> None:
    lines = [
        "   3.1 s  A sweep checks 8 connections: 0 idle for more than 4 s, 0 closed.",
        "   7.7 s  A sweep checks 8 connections: 3 idle for more than 4 s, 3 closed.",
        "   7.8 s  A sweep checks 8 connections: 10 idle for more than 4 s, 10 closed.",
        "\x1b[?25l\x1b[2KAda \x1b[1mjoins\x1b[0m.",
    ]
    assert shown(lines) == [*lines[1:3], "Ada \x1b[1mjoins\x1b[0m."]


def test_it_shows_a_run_that_passed() -> None:
    lines = picture_lines(PICTURE)
    assert lines[-1].endswith("the silent clients were closed, and nobody else.")
    assert not any("FAIL" in line for line in lines)
