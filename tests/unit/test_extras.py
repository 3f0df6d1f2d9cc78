"""Extras and pinned requirements name the same packages, and the pins are within the bounds."""

import re
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.documents import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
OURS = "hangup-lambda"
"""Built from these sources as well, so no lock has it."""
PINNED = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)


def requirements_of(*extras: str) -> Iterator[Requirement]:
    yield from map(Requirement, PROJECT["dependencies"])
    for extra in extras:
        for one in map(Requirement, EXTRAS[extra]):
            if one.name == "hangup":
                yield from requirements_of(*one.extras)
            elif one.name != OURS:
                yield one


def pinned_in(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    return {canonicalize_name(package): version for package, version in PINNED.findall(text)}


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("lambda.txt", ("fast", "sessions")),
        ("local.txt", ("local",)),
        ("cdk.txt", ("cdk", "fast", "sessions")),
        ("dev.txt", ("all",)),
    ],
)
def test_each_is_pinned_within_its_bounds(file: str, extras: tuple[str, ...]) -> None:
    pinned = pinned_in(file)
    for requirement in requirements_of(*extras):
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_lambda_zip_takes_the_base_fast_and_sessions_and_nothing_else() -> None:
    wanted = {canonicalize_name(one.name) for one in requirements_of("fast", "sessions")}
    assert pinned_in("lambda.in").keys() == wanted


def test_all_is_every_extra() -> None:
    (everything,) = map(Requirement, EXTRAS["all"])
    assert everything.name == "hangup"
    assert everything.extras == EXTRAS.keys() - {"all"}


def test_the_zips_are_of_the_same_version_and_come_with_the_command_line_alone() -> None:
    wanted = {
        extra: [one for one in map(Requirement, EXTRAS[extra]) if one.name == OURS]
        for extra in EXTRAS
    }
    (pinned,) = wanted.pop("cli")
    assert str(pinned.specifier) == f"=={PROJECT['version']}"
    assert not any(wanted.values())
    assert OURS not in {Requirement(one).name for one in PROJECT["dependencies"]}
