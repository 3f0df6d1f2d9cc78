"""``hangup init``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from hangup.aws.discovery import Account
from hangup.aws.runtime import calls, clock
from hangup.cli.deployments import EndpointUrl, Profile, Region, Settings, Where
from hangup.cli.options import AsJson
from hangup.cli.output import interrupted_means, say, say_json, say_wrapped, waiting
from hangup.cli.questions import choice, may_ask
from hangup.errors import ConfigurationError
from hangup.ops.deployment_file import FILE_NAME, override_in
from hangup.ops.evidence import Confidence, Proposal
from hangup.ops.inference import settled
from hangup.ops.init import Draft, Found, Search, draft
from hangup.ops.toml_text import in_toml

EXAMPLES: Final = (
    "hangup init",
    "hangup init --api a1b2c3d4e5 --yes",
    "hangup init --api chat --set api.stage=prod --json",
)
STATUS: Final = ("the file is written and complete", "it is not, or nothing is found")

_NONE: Final = "none"
_STYLES: Final = {
    Confidence.SURE: "green",
    Confidence.LIKELY: "cyan",
    Confidence.UNSURE: "yellow",
}


def init(  # noqa: PLR0913 - the command's options
    *,
    api: Annotated[
        str | None,
        typer.Option("--api", metavar="API", help="Id or name of the WebSocket API."),
    ] = None,
    config: Annotated[
        Path,
        typer.Option("--config", metavar="FILE", help="The file to write."),
    ] = Path(FILE_NAME),
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if it exists.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing: comment out what is unsure.")
    ] = False,
    settings: Settings = None,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> int:
    """Write hangup.toml for an app that is there.

    It finds the WebSocket APIs of the account, the $disconnect function, and
    the table that the functions name in their environment. It reads up to
    1,000 items of the table, asks API Gateway about up to 25 connections, and
    says what the attributes mean and why. It changes nothing but the file.
    """
    if config.exists() and not force:
        raise ConfigurationError(
            f"{config} exists: --force overwrites it, --config FILE writes another"
        )
    given = dict(map(override_in, settings or ()))
    asks = may_ask() and not yes and not as_json
    where = Where(profile=profile, region=region, endpoint_url=endpoint_url)
    if profile is not None:
        given.setdefault("stack.profile", profile)
    with (
        interrupted_means("no file is written; run it again"),
        where.account(),
        waiting("Looking for the app"),
    ):
        found = Search(
            Account(calls),
            clock=clock,
            given=given,
            choose=choice if asks else lambda _question, _options: None,
        ).find(api)
    proposals = found.proposals
    if not as_json:
        _say_found(found)
        _say_proposals([one for one in proposals if one.key not in given])
    if asks:
        with interrupted_means("no file is written; run it again"):
            proposals = settled(proposals, _answers(proposals, given))
    written = draft(proposals, given, str(config))
    _write(config, written.text, force=force)
    if as_json:
        say_json(_as_json(found, proposals, written, config))
    else:
        _say_written(written, config)
    return 1 if written.problem else 0


def _write(file: Path, text: str, *, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None


def _answers(proposals: Sequence[Proposal], given: Mapping[str, Any]) -> dict[str, object]:
    """Ask about each setting that is unsure and can be chosen; return the answers by key."""
    answers = {}
    for one in proposals:
        if one.confidence is Confidence.UNSURE and one.choices and one.key not in given:
            options = {_NONE if value is None else in_toml(value): value for value in one.choices}
            answers[one.key] = options[choice(f"{one.key}: {one.why}", list(options))]
    return answers


def _say_found(found: Found) -> None:
    about = {
        "API": f"{found.api.api_id} ({found.api.name}), stage {found.stage}, {found.region}",
        "$disconnect": found.disconnect.name if found.disconnect else "no function",
        "Table": f"{found.table.name}: {found.items:,} items read,"
        f" {found.inferred.connections:,} are connections,"
        f" API Gateway knows {found.inferred.known:,}",
    }
    for name, what in about.items():
        say((f"{name:<12}", "bold"), what)
    for note in found.notes:
        say_wrapped(f"{'Note':<12}", note, label_style="bold yellow", style="dim")
    say()


def _say_proposals(proposals: Sequence[Proposal]) -> None:
    for one in proposals:
        value = "" if one.value is None else f" = {in_toml(one.value)}"
        say((f"{one.confidence:<8}", _STYLES[one.confidence]), (f"{one.key}{value}", "bold"))
        say_wrapped(" " * 8, one.why, style="dim")
    say()


def _say_written(written: Draft, file: Path) -> None:
    say((f"{file} is written.", "bold green"))
    if written.left_out:
        say(f"Commented out, because it is unsure: {', '.join(written.left_out)}")
    if written.problem:
        say(("To do: ", "bold yellow"), written.problem)


def _as_json(
    found: Found, proposals: Sequence[Proposal], written: Draft, file: Path
) -> dict[str, Any]:
    return {
        "file": str(file),
        "api": {"id": found.api.api_id, "name": found.api.name},
        "stage": found.stage,
        "region": found.region,
        "routes": [asdict(one) for one in found.routes],
        "functions": [one.arn for one in found.functions],
        "disconnectFunction": found.disconnect.arn if found.disconnect else None,
        "table": found.table.name,
        "tables": list(found.tables),
        "itemsRead": found.items,
        "connections": found.inferred.connections,
        "knownConnections": found.inferred.known,
        "proposals": [
            {
                "key": one.key,
                "value": one.value,
                "confidence": str(one.confidence),
                "why": one.why,
            }
            for one in proposals
        ],
        "commentedOut": list(written.left_out),
        "problem": written.problem,
        "notes": list(found.notes),
    }
