# ruff: noqa: INP001 - a script: nothing imports it
"""Build the data-only distribution ``hangup-lambda``: the functions' zips, for the command line.

``python scripts/lambda_distribution.py TARGET`` writes its wheel to TARGET. It has the version of
``hangup`` and no code. Users of the decorator never get it, because only the extra ``cli`` needs
it. There is no sdist: the sources of the zips are those of ``hangup``.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
import warnings
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
# The zips are made of the sources beside this script, whichever are installed.
sys.path.insert(0, str(_ROOT / "src"))

from hangup.cdk.bundle import PLATFORMS, build_lambda_zip  # noqa: E402

_PROJECT = """\
[build-system]
requires = ["flit_core >=3.12,<4"]
build-backend = "flit_core.buildapi"

[project]
name = "hangup-lambda"
version = "{version}"
description = "The Lambda zips of Hangup, for its command line."
readme = "README.md"
requires-python = "{python}"
license = "MIT"
license-files = ["LICENSE"]
authors = [{{ name = "The Hangup authors" }}]

[tool.flit.module]
name = "hangup_lambda"
"""
_README = """\
# hangup-lambda

The zips of the Lambda functions of Hangup, one for each processor. `hangup package`
takes them from here. There is nothing to import.
"""


def main() -> None:
    """Build the wheel. Fail where the zips would have no bytecode: users could not tell."""
    (target,) = map(Path, sys.argv[1:])
    warnings.simplefilter("error")
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, "hangup_lambda")
        module.mkdir()
        (module / "__init__.py").write_text('"""The Lambda zips of Hangup."""\n')
        for architecture in PLATFORMS:
            built = build_lambda_zip(_ROOT / "build", architecture=architecture)
            shutil.copy(built, module)
        shutil.copy(_ROOT / "LICENSE", folder)
        Path(folder, "README.md").write_text(_README)
        Path(folder, "pyproject.toml").write_text(
            _PROJECT.format(version=project["version"], python=project["requires-python"])
        )
        subprocess.run(  # noqa: S603 - fixed words and our own paths
            [
                *(sys.executable, "-m", "uv", "build", "-q", "--wheel", "--offline"),
                *("--no-build-isolation", "--python", sys.executable),
                *("--out-dir", str(target), folder),
            ],
            check=True,
        )


if __name__ == "__main__":
    main()
