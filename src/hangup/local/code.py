"""The Lambda code for the local stack: the installed package itself, zipped.

On AWS the zip also holds the dependencies. MiniStack runs functions with this environment's own
packages, and our own modules alone make a zip in milliseconds.
"""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Final

import hangup

_LEFT_OUT: Final = frozenset({"cdk", "cli", "local", "ops", "planner", "testing"})
"""Top-level parts of the package that never run in Lambda."""


def lambda_zip() -> bytes:
    """Return the zip of the installed ``hangup`` package without what only the laptop needs."""
    package = Path(hangup.__file__).parent
    buffer = io.BytesIO()
    # Some installers give files the date 0, which zip cannot express.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in sorted(package.rglob("*.py")):
            within = path.relative_to(package)
            if within.parts[0] not in _LEFT_OUT:
                archive.write(path, package.name / within)
    return buffer.getvalue()


def object_key(code: bytes) -> str:
    """Return an S3 key that changes with the code.

    CloudFormation replaces a function's code only when the key differs from the last one.
    """
    return f"hangup-lambda-{hashlib.sha256(code).hexdigest()[:16]}.zip"
