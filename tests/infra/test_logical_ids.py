"""The names in the templates stay what they are: a stack is updated by them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hangup.local.deploy import packaged_template
from hangup.ops.template import timeout_template

pytestmark = pytest.mark.infra

TOPOLOGIES = ("inline", "precise", "timeout alone")
COMMITTED = Path(__file__).with_name("logical_ids.json")

WHAT_TO_DO = """
The names in the {topology} template are not the committed ones.

gone: {gone}
new: {new}

CloudFormation deletes a resource whose logical ID is gone (a table with its records, for example)
and creates a new one. A parameter or an output that is gone breaks what sets or reads it. If you
did not intend this, restore the construct's id. If you did, describe it in CHANGELOG.md and run:

    .venv/bin/python -m tests.infra.test_logical_ids > tests/infra/logical_ids.json
"""


def names(topology: str) -> dict[str, str]:
    """Return the type of each resource and parameter by its name; outputs have none."""
    template: dict[str, Any] = (
        json.loads(timeout_template())
        if topology == "timeout alone"
        else packaged_template(precise=topology == "precise")
    )
    return {
        f"{section}.{name}": definition.get("Type", "")
        for section in ("Parameters", "Resources", "Outputs")
        for name, definition in template[section].items()
    }


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_names_are_the_committed_ones(topology: str) -> None:
    committed, current = json.loads(COMMITTED.read_text())[topology], names(topology)
    changes = {
        "gone": sorted(committed.items() - current.items()),
        "new": sorted(current.items() - committed.items()),
    }
    assert not any(changes.values()), WHAT_TO_DO.format(topology=topology, **changes)


if __name__ == "__main__":
    everything = {topology: names(topology) for topology in TOPOLOGIES}
    sys.stdout.write(json.dumps(everything, indent=2, sort_keys=True) + "\n")
