"""One build of the wheel and the sdist for all tests of what users install."""

from pathlib import Path

import pytest

from tests.support.distribution import build, copy_of_the_sources


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that ``make dist`` has built."""
    copy = copy_of_the_sources(tmp_path_factory.mktemp("a copy"))
    return build(copy, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("hangup-*.whl")
    return wheel
