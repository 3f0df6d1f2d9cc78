# ruff: noqa: INP001 - a script: nothing imports it
"""The CDK app: build the Lambda zip, synthesise the stack, refresh what the package carries of it.

``python infra/app.py`` writes ``cdk.out``, as the ``cdk`` command does through it, and refreshes
the package's copies of the lock and of the templates, with and without a queue. Context values
choose what ``cdk.out`` gets: ``precise`` (``cdk deploy -c precise=true``) the one with a queue,
``segments`` (``-c segments=4``) as many sweeps a minute. With ``--check`` it changes no copy, and
exits with 1 if one is out of date.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hangup.core.limits import MAX_SEGMENTS
from hangup.errors import ConfigurationError, HangupError

_ROOT = Path(__file__).resolve().parents[1]
_LOCK = _ROOT / "requirements" / "lambda.txt"
_LOCK_COPY = _ROOT / "src" / "hangup" / "cdk" / "lambda.txt"
_COPIES = {
    False: _ROOT / "src" / "hangup" / "local" / "template.json",
    True: _ROOT / "src" / "hangup" / "local" / "template-precise.json",
}
"""The packaged templates, by whether they are precise."""


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
    # The cdk command says where it wants the result, and what was asked of it.
    outdir = Path(os.environ.get("CDK_OUTDIR", _ROOT / "cdk.out"))
    context = json.loads(os.environ.get("CDK_CONTEXT_JSON") or "{}")
    precise, segments = _precise(context), _segments(context)
    template = _template(outdir, precise=precise, segments=segments)
    for copied, copy in _COPIES.items():
        if copied != precise or segments != 1:
            with tempfile.TemporaryDirectory() as aside:
                template_of_copy = _template(Path(aside), precise=copied)
        else:
            template_of_copy = template
        _write(copy, template_of_copy)


def _precise(context: Mapping[str, object]) -> bool:
    value = str(context.get("precise", False)).lower()
    if value not in ("true", "false"):
        raise ConfigurationError(f"precise must be true or false, not {context['precise']!r}")
    return value == "true"


def _segments(context: Mapping[str, object]) -> int:
    value = str(context.get("segments", 1))
    if not re.fullmatch("[0-9]{1,2}", value, re.ASCII) or not 1 <= int(value) <= MAX_SEGMENTS:
        raise ConfigurationError(
            f"segments must be a whole number from 1 to {MAX_SEGMENTS}, not {context['segments']!r}"
        )
    return int(value)


def _check() -> None:
    _compare(_LOCK_COPY, _LOCK.read_text())
    for precise, copy in _COPIES.items():
        with tempfile.TemporaryDirectory() as outdir:
            _compare(copy, _template(Path(outdir), precise=precise))


def _template(outdir: Path, *, precise: bool, segments: int = 1) -> str:
    # Imported here because CDK starts Node.js, and a missing one deserves a sentence from main.
    from hangup.cdk.synthesis import packaged_template, synthesise  # noqa: PLC0415

    return packaged_template(
        synthesise(outdir=outdir, build_dir=_ROOT / "build", precise=precise, segments=segments)
    )


def _write(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def _compare(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        sys.exit(f"hangup: {file.relative_to(_ROOT)} is out of date; run: make synth")


if __name__ == "__main__":
    main()
