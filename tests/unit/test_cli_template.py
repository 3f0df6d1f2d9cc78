"""``hangup template`` and ``hangup package``: what they print, write and refuse."""

import json
import re
from pathlib import Path

import pytest

from hangup import __version__
from hangup.cli.app import main
from hangup.errors import ConfigurationError
from hangup.ops import lambda_zips
from hangup.ops.lambda_zips import installed_zip
from hangup.ops.template import as_markdown, timeout_template
from tests.support.documents import ROOT, page, table


def test_prints_the_template_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (timeout_template(), "")
    assert json.loads(out)["Resources"]


def test_writes_the_template_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "timeout.json"
    assert main(["template", "--output", str(file)]) == 0
    assert file.read_text() == timeout_template()
    assert capsys.readouterr().out == f"{file}\n"


def test_says_that_a_file_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["template", "--output", str(tmp_path / "none" / "timeout.json")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "cannot be written (No such file or directory): name another file" in err


def test_the_guide_says_what_cloudformation_needs_for_each_resource() -> None:
    rows = table("Resource", page("guides/deploy-beside"))
    documented = {kind for row in rows for kind in re.findall(r"AWS::\w+::\w+", row[0])}
    resources = json.loads(timeout_template())["Resources"].values()
    assert documented == {one["Type"] for one in resources}


def test_package_needs_to_know_where_to(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["package"])
    assert left.value.code == 2
    assert "'--output' or '--bucket'" in capsys.readouterr().err


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path of modules that holds the distribution with the zips."""
    module = tmp_path / "installed" / "hangup_lambda"
    module.mkdir(parents=True)
    (module / "__init__.py").write_text("")
    (module / "hangup-lambda-x86_64.zip").write_bytes(b"the zip")
    monkeypatch.syspath_prepend(module.parent)
    return module.parent


def add_metadata(folder: Path, version: str) -> None:
    info = folder / f"hangup_lambda-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: hangup-lambda\nVersion: {version}\n"
    )


def test_package_writes_the_installed_zip(
    distribution: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_metadata(distribution, __version__)
    target = tmp_path / "functions.zip"
    words = ["package", "--architecture", "x86_64", "--output", str(target), "--json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"Architecture": "x86_64", "Output": str(target)}
    assert err == ""
    assert target.read_bytes() == b"the zip"


def test_zips_of_another_version_are_refused(distribution: Path) -> None:
    add_metadata(distribution, "0.0.1")
    with pytest.raises(
        ConfigurationError, match=r"hangup-lambda is 0\.0\.1, and hangup is .*pip install"
    ):
        installed_zip("arm64")


def test_without_the_distribution_there_is_no_zip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_zips, "_MODULE", "hangup_lambda_that_nobody_has")
    assert installed_zip("arm64") is None


def test_the_page_has_the_parameters_as_the_template_has_them() -> None:
    assert as_markdown() in (ROOT / "docs" / "reference" / "template.md").read_text()
