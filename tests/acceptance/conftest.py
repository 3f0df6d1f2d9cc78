"""The engine that all tests of apps share, with each app deployed once."""

from collections.abc import Iterator

import pytest

from tests.support.apps import Cloud, started_cloud


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    with started_cloud() as started:
        yield started
