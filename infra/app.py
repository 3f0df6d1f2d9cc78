# ruff: noqa: INP001 - a script: nothing imports it
"""The CDK app: build the Lambda zip, synthesise the stack, refresh what the package carries of it.

``python infra/app.py`` writes ``cdk.out``, as the ``cdk`` command does through it, and refreshes
the package's copies of the lock and of the template. With ``--check`` it changes neither, and
exits with 1 if a copy is out of date.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from hangup.errors import HangupError

_ROOT = Path(__file__).resolve().parents[1]
_LOCK = _ROOT / "requirements" / "lambda.txt"
_LOCK_COPY = _ROOT / "src" / "hangup" / "cdk" / "lambda.txt"
_TEMPLATE_COPY = _ROOT / "src" / "hangup" / "local" / "template.json"


def main() -> None:
    """Do what the command line says; exit with one sentence if it cannot be done."""
    parser = argparse.ArgumentParser(description="Build the infrastructure of Hangup.")
    parser.add_argument(
        "--check", action="store_true", help="only say whether the package's copies are current"
    )
    try:
        if parser.parse_args().check:
            _check()
        else:
            _refresh()
    except HangupError as error:
        sys.exit(f"hangup: {error}")


def _refresh() -> None:
    _write(_LOCK_COPY, _LOCK.read_text())
    # The cdk command says where it wants the result.
    outdir = Path(os.environ.get("CDK_OUTDIR", _ROOT / "cdk.out"))
    _write(_TEMPLATE_COPY, _template(outdir))


def _check() -> None:
    _compare(_LOCK_COPY, _LOCK.read_text())
    with tempfile.TemporaryDirectory() as outdir:
        _compare(_TEMPLATE_COPY, _template(Path(outdir)))


def _template(outdir: Path) -> str:
    # Imported here because CDK starts Node.js, and a missing one deserves a sentence from main.
    from hangup.cdk.synthesis import packaged_template, synthesise  # noqa: PLC0415

    return packaged_template(synthesise(outdir=outdir, build_dir=_ROOT / "build"))


def _write(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def _compare(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        sys.exit(f"hangup: {file.relative_to(_ROOT)} is out of date; run: make synth")


if __name__ == "__main__":
    main()
