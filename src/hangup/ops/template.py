"""The CloudFormation template of the timeout alone, as the package carries it."""

from importlib import resources
from typing import Final

_FILE: Final = "timeout.template.json"


def timeout_template() -> str:
    """Return the text of the template: compact JSON that ends with a line break."""
    return (resources.files("hangup.ops") / _FILE).read_text("utf-8")
