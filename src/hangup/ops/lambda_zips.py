"""The functions' zips that are installed with the command line, in a distribution of their own."""

import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import Final

from hangup import __version__
from hangup.errors import ConfigurationError

DISTRIBUTION: Final = "hangup-lambda"
_MODULE: Final = "hangup_lambda"


def installed_zip(architecture: str) -> Path | None:
    """Return the zip for an architecture of Lambda; None where the distribution is not installed.

    Raise ``ConfigurationError`` if it is of another version than this package.
    """
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:
        return None
    installed = version(DISTRIBUTION)
    if installed != __version__:
        raise ConfigurationError(
            f"{DISTRIBUTION} is {installed}, and hangup is {__version__}: install them together,"
            f" pip install 'hangup[cli]=={__version__}'"
        )
    return Path(spec.origin).with_name(f"hangup-lambda-{architecture}.zip")
