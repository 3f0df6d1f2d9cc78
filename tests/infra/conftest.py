"""One build of the Lambda zip and one synthesis for all tests."""

from pathlib import Path
from typing import Any

import pytest

# Before any test module imports aws_cdk: this chooses the Node.js that runs it.
from hangup.cdk.bundle import build_lambda_zip
from hangup.cdk.synthesis import synthesise
from tests.support.templates import Resources

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def lambda_zip() -> Path:
    return build_lambda_zip(ROOT / "build")


@pytest.fixture(scope="session")
def template(lambda_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return synthesise(outdir=tmp_path_factory.mktemp("cdk"), lambda_zip=lambda_zip)


@pytest.fixture(scope="session")
def resources(template: dict[str, Any]) -> Resources:
    return Resources(template=template)


@pytest.fixture(scope="session")
def precise_template(lambda_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return synthesise(outdir=tmp_path_factory.mktemp("cdk"), lambda_zip=lambda_zip, precise=True)


@pytest.fixture(scope="session")
def precise(precise_template: dict[str, Any]) -> Resources:
    return Resources(template=precise_template)
