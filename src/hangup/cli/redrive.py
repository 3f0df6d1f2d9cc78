"""``hangup redrive``."""

from typing import Annotated, Final

import typer

from hangup.cli.deployments import EndpointUrl, Function, Local, Profile, Region, Stack, Where
from hangup.cli.options import AsJson
from hangup.cli.output import UNCHANGED, interrupted_means, say, say_json, waiting
from hangup.ops.wiring import redrive_of

EXAMPLES: Final = ("hangup redrive --dry-run", "hangup redrive --stack My-Hangup")
STATUS: Final = ("all were replayed", "some are left in the queue, or it cannot be read")


def redrive(  # noqa: PLR0913 - the command's options
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be replayed, and change nothing.")
    ] = False,
    stack: Stack = None,
    function: Function = None,
    local: Local = False,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> int:
    """Replay the cleanups that Lambda gave up after its last attempt.

    The disconnect function is invoked again with each event in the queue of
    failed cleanups. An event leaves the queue once Lambda has accepted it.
    Repair the cause first.
    """
    where = Where(
        stack=stack,
        function=function,
        local=local,
        profile=profile,
        region=region,
        endpoint_url=endpoint_url,
    )
    with (
        interrupted_means(
            UNCHANGED
            if dry_run
            else "what is replayed has left the queue; run it again for the rest"
        ),
        where.deployed() as found,
        waiting("Reading the queue of failed cleanups"),
    ):
        report = redrive_of(found, say=_nothing if as_json else say).replay(dry_run=dry_run)
    if as_json:
        say_json(
            {
                "dryRun": dry_run,
                "replayed": report.replayed,
                "connectionIds": report.connection_ids,
                "left": [{"messageId": one, "why": why} for one, why in report.left.items()],
            }
        )
    else:
        verb = "would be replayed" if dry_run else "replayed"
        left = f", {len(report.left)} left in the queue" if report.left else ""
        say((f"{report.replayed} {verb}{left}.", "bold yellow" if report.left else "bold"))
    return 1 if report.left else 0


def _nothing(_line: str) -> None:
    """Say nothing: the result has it."""
