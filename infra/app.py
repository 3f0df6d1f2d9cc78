# ruff: noqa: INP001 - a script: nothing imports it
"""The CDK app: build the Lambda zip, synthesise the stack, refresh the package's copies.

``python infra/app.py`` writes ``cdk.out`` (the ``cdk`` command calls it too). It refreshes the
package's copies of the lock, of the stack's two templates, without and with a queue, and of the
template of the timeout alone. Context values choose what ``cdk.out`` gets: ``precise`` (``cdk
deploy -c precise=true``) adds the queue, and ``shards`` (``-c shards=4``) is the number of sweeps a
minute. With ``--check`` it changes no copy and exits with 1 if one is out of date.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from hangup.core.bounds import WholeNumber
from hangup.core.limits import MAX_SHARDS
from hangup.errors import ConfigurationError, HangupError
from hangup.ops.folders import make_ignored_folder

_ROOT = Path(__file__).resolve().parents[1]
_LOCK = _ROOT / "requirements" / "lambda.txt"
_LOCK_COPY = _ROOT / "src" / "hangup" / "cdk" / "lambda.txt"
_COPIES = {
    False: _ROOT / "src" / "hangup" / "local" / "template.json",
    True: _ROOT / "src" / "hangup" / "local" / "template-precise.json",
}
"""The packaged templates of the reference stack, by whether they are precise."""
_TIMEOUT_COPY = _ROOT / "src" / "hangup" / "ops" / "timeout.template.json"
"""The template of the timeout alone, which ``hangup template`` prints."""
_INTERRUPTED = 130


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
    except KeyboardInterrupt:
        sys.stderr.write("hangup: stopped before everything was written; run make synth again\n")
        sys.stderr.flush()
        # Not sys.exit: CDK's runtime has had the Ctrl-C too, and complains on the way out.
        os._exit(_INTERRUPTED)


def _refresh() -> None:
    # The cdk command sets both: where it wants the result, and what was asked of it.
    outdir = Path(os.environ.get("CDK_OUTDIR", _ROOT / "cdk.out"))
    context = json.loads(os.environ.get("CDK_CONTEXT_JSON") or "{}")
    precise, shards = _precise(context), _shards(context)
    _say("Starting CDK (the first time on this machine it unpacks 207 MB) ...")
    import hangup.cdk  # noqa: F401, PLC0415 - see _synthesise

    _say("Building the Lambda zip (the first time it fetches about 24 MB) ...")
    _lambda_zip()
    for file, text in _copies():
        is_current = _is_current(file, text)
        if not is_current:
            file.write_text(text)
        _say(f"{file.relative_to(_ROOT)} {'is current' if is_current else 'is written'}.")
    make_ignored_folder(outdir)
    _synthesise(outdir, precise=precise, shards=shards)
    _say(f"{outdir.name} is written.")


def _check() -> None:
    for file, text in _copies():
        if not _is_current(file, text):
            sys.exit(f"hangup: {file.relative_to(_ROOT)} is out of date; run: make synth")


def _copies() -> Iterator[tuple[Path, str]]:
    """Yield each copy that the package carries, and the text that it should have."""
    # First, because the Lambda zip is built from it.
    yield _LOCK_COPY, _LOCK.read_text()
    for precise, copy in _COPIES.items():
        with tempfile.TemporaryDirectory() as outdir:
            yield copy, _synthesise(Path(outdir), precise=precise)
    from hangup.cdk.timeout_template import timeout_template  # noqa: PLC0415 - see _synthesise

    yield _TIMEOUT_COPY, timeout_template()


def _is_current(file: Path, text: str) -> bool:
    return file.exists() and file.read_text() == text


def _synthesise(outdir: Path, *, precise: bool, shards: int = 1) -> str:
    """Write the assembly to ``outdir``; return the template as the package carries it."""
    # Imported here because CDK starts Node.js, and main says in a sentence that there is none.
    from hangup.cdk.synthesis import packaged_template, synthesise  # noqa: PLC0415

    return packaged_template(
        synthesise(outdir=outdir, lambda_zip=_lambda_zip(), precise=precise, shards=shards)
    )


@cache
def _lambda_zip() -> Path:
    from hangup.cdk.bundle import build_lambda_zip  # noqa: PLC0415 - likewise

    return build_lambda_zip(_ROOT / "build")


def _precise(context: Mapping[str, object]) -> bool:
    value = str(context.get("precise", False)).lower()
    if value not in ("true", "false"):
        raise ConfigurationError(f"precise must be true or false, not {context['precise']!r}")
    return value == "true"


def _shards(context: Mapping[str, object]) -> int:
    value = context.get("shards", 1)
    accepted = WholeNumber(at_least=1, at_most=MAX_SHARDS)
    try:
        return accepted.parse(str(value))
    except ValueError:
        raise ConfigurationError(f"shards must be {accepted}, not {value!r}") from None


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
