"""``hangup doctor``."""

from collections.abc import Iterable
from typing import Annotated, Final

import typer

from hangup.cli.deployments import Config, Settings, account_of, described
from hangup.cli.options import AsJson
from hangup.cli.output import Part, say, say_json, tick, waiting
from hangup.cli.stacks import EndpointUrl, Profile, Region
from hangup.ops.doctor import examine
from hangup.ops.findings import Finding, Status, worst
from hangup.ops.wiring import case_of

EXAMPLES: Final = ("hangup doctor", "hangup doctor --before", "hangup doctor --json")
STATUS: Final = ("all is ok, or there are warnings alone", "something is broken, or AWS not asked")

_STYLES: Final = {Status.OK: "green", Status.WARN: "yellow", Status.BROKEN: "bold red"}
_COLUMN: Final = 8


def doctor(  # noqa: PLR0913 - the command's options
    *,
    before: Annotated[
        bool,
        typer.Option("--before", help="Check only what can be known before a deployment."),
    ] = False,
    config: Config = None,
    settings: Settings = None,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> int:
    """Find what keeps the timeout from working, and the command that ends it.

    It reads hangup.toml, the account, a page of your table and the deployed
    stack, and changes nothing. Each line is ok, warn or broken; with a cause,
    a command that ends it, and the message that is seen of it elsewhere.
    """
    deployment = described(config, settings)
    where = account_of(deployment, profile=profile, region=region, endpoint_url=endpoint_url)
    findings = []
    with where.account(), waiting("Asking AWS"):
        for finding in examine(case_of(deployment), before=before):
            findings.append(finding)
            if not as_json:
                say_finding(finding)
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


def say_finding(finding: Finding) -> None:
    """Print what was found, and below it what to know about it."""
    status = tick() if finding.status is Status.OK else str(finding.status)
    say((f"{status:<{_COLUMN}}", _STYLES[finding.status]), finding.what)
    details = (("cause", finding.cause), ("seen as", finding.message), ("fix", finding.fix))
    for name, text in details:
        if text:
            say(" " * _COLUMN, (f"{name}: ", "dim"), text)


def _summary(findings: Iterable[Finding]) -> Part:
    counts = {status: 0 for status in Status}
    for one in findings:
        counts[one.status] += 1
    text = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    status = next(one for one in reversed(Status) if counts[one])
    return text, _STYLES[status]
