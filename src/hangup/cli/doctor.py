"""``hangup doctor``."""

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Annotated, Final
from urllib.parse import urlencode, urlsplit

import typer

from hangup.cli.deployments import (
    Config,
    EndpointUrl,
    Profile,
    Region,
    Settings,
    deployment_of,
)
from hangup.cli.options import AsJson
from hangup.cli.output import (
    UNCHANGED,
    Part,
    interrupted_means,
    say,
    say_aside,
    say_json,
    say_progress,
    waiting,
    write_aside,
)
from hangup.ops.deployment_file import Deployment
from hangup.ops.doctor import examine
from hangup.ops.doctor_case import Case, Finding, worst
from hangup.ops.probe import Probe
from hangup.ops.troubles import Status
from hangup.ops.wiring import case_of

EXAMPLES: Final = (
    "hangup doctor",
    "hangup doctor --before",
    "hangup doctor --probe --query token=abc",
)
STATUS: Final = ("all is ok, or there are warnings alone", "something is broken, or AWS not asked")

_STYLES: Final = {Status.OK: "green", Status.WARN: "yellow", Status.BROKEN: "bold red"}
_COLUMN: Final = 8
_PROBE: Final = "Probe"


def doctor(  # noqa: PLR0913 - the command's options
    *,
    before: Annotated[
        bool,
        typer.Option("--before", help="Check only what can be known before a deployment."),
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Connect one client, and follow it until it is closed and removed. It settles"
            " whether messages to a client count as its activity.",
            rich_help_panel=_PROBE,
        ),
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="Where it connects (default: the stage's own address).",
            rich_help_panel=_PROBE,
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            metavar="NAME:VALUE",
            help="A header that it sends; may be repeated.",
            show_default=False,
            rich_help_panel=_PROBE,
        ),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            "--query",
            metavar="NAME=VALUE",
            help="A parameter of its URL; may be repeated.",
            show_default=False,
            rich_help_panel=_PROBE,
        ),
    ] = None,
    config: Config = None,
    settings: Settings = None,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> int:
    """Find what keeps the timeout from working, and the command that ends it.

    It reads hangup.toml, the account, some of your items and the deployed
    stack, and changes nothing. Each line is ok, warn or broken; with a cause,
    a command that ends it, and the message that is seen of it elsewhere.
    With --probe it also connects a client, which is closed in the end.
    """
    _check_usage(probe=probe, before=before, about_client=bool(url or header or query))
    headers = dict(_parted(one, ":", "--header") for one in header or ())
    queries = [_parted(one, "=", "--query") for one in query or ()]
    findings: list[Finding] = []

    def hear(happened: Iterable[Finding]) -> None:
        for finding in happened:
            findings.append(finding)
            if not as_json:
                for parts in _lines(finding):
                    say(*parts)

    asked = deployment_of(
        config, settings, profile=profile, region=region, endpoint_url=endpoint_url
    )
    with asked as deployment, waiting("Asking AWS"):
        with interrupted_means(UNCHANGED):
            case = case_of(deployment)
            hear(examine(case, before=before))
        if probe and worst(findings) is not Status.BROKEN:
            with interrupted_means("the client of the probe has left; run it again"):
                hear(_probed(case, url, headers, queries))
        elif probe:
            say_aside("no client is connected: something is broken already")
    if as_json:
        say_json(
            {
                "status": str(worst(findings)),
                "findings": [one.as_json() for one in findings],
            }
        )
    else:
        say(_summary(findings))
    return 1 if worst(findings) is Status.BROKEN else 0


def _check_usage(*, probe: bool, before: bool, about_client: bool) -> None:
    if about_client and not probe:
        raise typer.BadParameter("--url, --header and --query need --probe")
    if probe and before:
        raise typer.BadParameter("--probe excludes --before")
    if probe:
        import_module("hangup.local.probe_client")  # before anything is asked: it needs an extra


def _parted(text: str, by: str, option: str) -> tuple[str, str]:
    name, sign, value = text.partition(by)
    if not (name.strip() and sign):
        raise typer.BadParameter(f"{text!r} is not NAME{by}VALUE", param_hint=f"'{option}'")
    return name.strip(), value.strip()


def _probed(
    case: Case, url: str | None, headers: Mapping[str, str], queries: Sequence[tuple[str, str]]
) -> Iterator[Finding]:
    """Return what becomes of one client, as it happens."""
    from hangup.local.probe_client import silent_client  # noqa: PLC0415 - it needs an extra

    # The @connections URL of a stage is its clients' but for the scheme: http, and so ws, locally.
    there = urlsplit(url or f"ws{case.endpoint.removeprefix('http')}")
    parameters = "&".join(filter(None, (there.query, urlencode(queries))))
    user_agent = f"hangup-doctor/{secrets.token_hex(8)}"
    return Probe(
        case=case,
        open_client=partial(
            silent_client,
            there._replace(query=parameters).geturl(),
            headers=headers,
            user_agent=user_agent,
        ),
        user_agent=user_agent,
        progress=say_progress,
    ).findings()


def is_fit(deployment: Deployment) -> bool:
    """Return whether a deployment may go ahead; print what speaks against it."""
    with waiting("Checking first"):
        findings = [one for one in examine(case_of(deployment), before=True) if not one.is_well]
    for one in findings:
        for parts in _lines(one):
            write_aside(*parts)
    is_broken = worst(findings) is Status.BROKEN
    if is_broken:
        say_aside("not deployed: something is broken; --skip-checks deploys all the same")
    return not is_broken


def _lines(finding: Finding) -> Iterator[Sequence[Part]]:
    """Yield what was found, and what to know about it."""
    yield (f"{finding.status:<{_COLUMN}}", _STYLES[finding.status]), finding.what
    seen = "" if finding.is_well or not finding.message else f'"{finding.message}"'
    for name, text in (("cause", finding.cause), ("seen as", seen), ("fix", finding.fix)):
        if text:
            yield " " * _COLUMN, (f"{name}: ", "dim"), text


def _summary(findings: Sequence[Finding]) -> Part:
    counts = Counter(one.status for one in findings)
    text = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
    return text, _STYLES[worst(findings)]
