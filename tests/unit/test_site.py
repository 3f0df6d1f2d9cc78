"""The docs site: what is laid out for the builder, and that the builder is strict."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.site import COMMAND_LINE, SiteError, help_of, lay_out
from tests.support.documents import ROOT


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site") / "docs"
    lay_out(ROOT, target)
    return target


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small repository with one page."""
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"):
        (tmp_path / name).write_text(f"# {name}\n")
    (tmp_path / "code.py").write_text("")
    (tmp_path / "docs" / "index.md").write_text("# Home\n")
    return tmp_path


def page_with(project: Path, text: str) -> str:
    (project / "docs" / "index.md").write_text(text)
    lay_out(project, project / "out")
    return (project / "out" / "index.md").read_text()


@pytest.mark.slow
def test_every_page_of_the_docs_is_there(laid_out: Path) -> None:
    docs = {file.relative_to(ROOT / "docs") for file in (ROOT / "docs").rglob("*.md")}
    assert docs <= {file.relative_to(laid_out) for file in laid_out.rglob("*.md")}
    assert (laid_out / "demo.svg").exists()
    assert (laid_out / "project" / "changelog.md").exists()


@pytest.mark.slow
def test_the_help_of_every_command_is_in_the_page_of_the_command_line(laid_out: Path) -> None:
    source = (ROOT / COMMAND_LINE).read_text()
    text = (laid_out / COMMAND_LINE.relative_to("docs")).read_text()
    commands = re.findall(r"^## hangup (\w+)$", source, re.MULTILINE)
    assert "written by make docs" not in text
    assert len(commands) > 1
    for command in commands:
        assert f"```text\n{help_of(command)}\n```" in text
        assert f"hangup {command}" in help_of(command)


def test_help_of_a_command_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(SiteError, match="hangup nonsense --help failed"):
        help_of("nonsense")


def test_links_to_files_outside_become_their_names(project: Path) -> None:
    text = page_with(
        project, "[code.py](../code.py), [`code.py`](../code.py), [the code](../code.py)"
    )
    assert text == "`code.py`, `code.py`, the code (`code.py`)"


def test_links_to_pages_of_the_root_lead_to_their_place_in_the_site(project: Path) -> None:
    text = page_with(project, "[a](../SECURITY.md#x) [b](../README.md) [c](https://example.org/d)")
    assert text == "[a](project/security.md#x) [b](index.md) [c](https://example.org/d)"


def test_a_link_to_a_file_that_does_not_exist_is_an_error(project: Path) -> None:
    with pytest.raises(SiteError, match=r"docs/index.md links to ../nope.py, which does not exist"):
        page_with(project, "[nope](../nope.py)")


def test_what_was_laid_out_before_is_gone(project: Path) -> None:
    (project / "out").mkdir()
    (project / "out" / "old.md").write_text("# old\n")
    page_with(project, "# Home\n")
    assert not (project / "out" / "old.md").exists()


def built(project: Path, *nav: str) -> "subprocess.CompletedProcess[str]":
    """Build a small project by this repository's configuration, with another navigation."""
    lay_out(project, project / "build" / "docs")
    shutil.rmtree(project / "build" / "docs" / "project")
    settings = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[0]
    entries = "".join(f"  - {entry}\n" for entry in nav)
    (project / "mkdocs.yml").write_text(f"{settings}\nnav:\n{entries}")
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# Home\n[x](#nope)\n", "nope"),
        ("# Home\n[x](other.md#nope)\n", "nope"),
        ("# Home\n::: hangup.nope\n", "hangup.nope"),
    ],
)
def test_the_builder_refuses_a_page_with_a_broken_reference(
    project: Path, text: str, complaint: str
) -> None:
    (project / "docs" / "other.md").write_text("# Other\n")
    (project / "docs" / "index.md").write_text(text)
    result = built(project, "index.md", "other.md")
    assert result.returncode != 0
    assert complaint in result.stderr


@pytest.mark.slow
def test_the_builder_refuses_a_page_without_a_place_and_a_place_without_a_page(
    project: Path,
) -> None:
    assert built(project, "index.md").returncode == 0
    (project / "docs" / "orphan.md").write_text("# Orphan\n")
    orphan = built(project, "index.md")
    assert orphan.returncode != 0
    assert "orphan.md" in orphan.stderr
    missing = built(project, "index.md", "orphan.md", "nope.md")
    assert missing.returncode != 0
    assert "nope.md" in missing.stderr


@pytest.mark.slow
def test_the_site_is_built_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "docs.site"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    pages = list((ROOT / "build" / "site").rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        loads = re.findall(
            r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert [url for url in loads if "canonical" not in url] == [], page
