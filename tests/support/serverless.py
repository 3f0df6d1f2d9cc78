"""What examples/serverless/serverless.yml says, without Serverless."""

from collections.abc import Hashable
from typing import Any

import yaml

from hangup.aws.schema import TableSchema
from tests.support.documents import ROOT

__all__ = ["rooms_schema"]

_SERVICE = ROOT / "examples" / "serverless" / "serverless.yml"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms (``!Ref Table``) as what is behind them."""


def _argument(loader: _Loader, _suffix: str, node: yaml.Node) -> Hashable | Any:
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Loader.add_multi_constructor("!", _argument)


def rooms_schema() -> TableSchema:
    """Return the table schema of the example."""
    service = yaml.load(_SERVICE.read_text(), _Loader)  # noqa: S506 - a safe loader
    parameters = service["resources"]["Resources"]["Hangup"]["Properties"]["Parameters"]
    return TableSchema.from_json(parameters["TableSchema"])
