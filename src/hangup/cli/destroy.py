"""``hangup destroy``."""

from collections import Counter
from typing import Annotated, Final

import typer

from hangup.cli.changes import goes_on, say_event
from hangup.cli.deployments import (
    Config,
    EndpointUrl,
    Profile,
    Region,
    Settings,
    deployment_of,
)
from hangup.cli.options import Yes
from hangup.cli.output import interrupted_means, say, say_progress, waiting
from hangup.cli.questions import agreed, may_read
from hangup.ops.deploy import Deployer
from hangup.ops.deployment_file import Deployment
from hangup.ops.next_sweep import in_words
from hangup.ops.wiring import clean_of, deployer_of, table_size

EXAMPLES: Final = ("hangup destroy", "hangup destroy --clean", "hangup destroy --yes --keep-bucket")
STATUS: Final = ("the stack is gone, and what was to go with it", "it is not: declined, or failed")


def destroy(  # noqa: PLR0913 - the command's options
    *,
    clean: Annotated[
        bool,
        typer.Option("--clean", help="Remove from your items the attributes that Hangup added."),
    ] = False,
    keep_bucket: Annotated[
        bool, typer.Option("--keep-bucket", help="Keep the bucket that was made for the code.")
    ] = False,
    yes: Yes = False,
    config: Config = None,
    settings: Settings = None,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Remove the stack of the timeout, and nothing of yours.

    It shows what would be removed, and asks. The attributes that Hangup has
    added to your items stay, unless you say --clean.
    """
    asked = deployment_of(
        config, settings, profile=profile, region=region, endpoint_url=endpoint_url
    )
    with asked as deployment:
        name = deployment["stack.name"]
        with interrupted_means("nothing is removed; run the same command again"):
            deployer = deployer_of(happens=say_event, say=say_progress)
            with waiting(f"Looking at the stack {name}"):
                state = deployer.stacks.find(name)
            if state is not None:
                state = deployer.to_remove(name)
                bucket = deployer.bucket_to_remove(name, state)
                _say_removal(name, deployer)
                if place := state.parameters.get("CodeBucket"):
                    say(f"Its code is in the bucket {place}.")
                if not agreed("Remove it?", yes=yes):
                    return 1
                takes_bucket = (
                    bucket is not None
                    and not keep_bucket
                    and agreed(
                        f"Delete the bucket {bucket.name}, which has nothing but the code?", yes=yes
                    )
                )
        if state is None:
            say(f"There is no stack {name} any more.")
        else:
            with interrupted_means(goes_on(name)):
                if bucket is not None and takes_bucket:
                    bucket.delete()
                    say(f"The bucket {bucket.name} is deleted.")
                deployer.remove(name)
            say((f"The stack {name} is removed.", "bold green"))
        with interrupted_means("some items may have Hangup's attributes; run it again to go on"):
            return _clean(deployment, clean=clean, yes=yes)


def _say_removal(name: str, deployer: Deployer) -> None:
    say((f"The stack {name} would be removed:", "bold"))
    kinds = Counter(kind for kind, _ in deployer.stacks.resources(name))
    for kind, count in sorted(kinds.items()):
        say(f"Remove   {kind.removeprefix('AWS::')} ({count})")


def _clean(deployment: Deployment, *, clean: bool, yes: bool) -> int:
    """Say what is left in the user's items, or remove it."""
    table = deployment["table.name"]
    if deployment["timeout.state_table"]:
        return 0
    if not clean:
        names = ", ".join(deployment.table_schema.own_attributes)
        say(f"Items of {table} may still have these attributes: {names}.")
        say("`hangup destroy --clean` removes them, and leaves all else as it is.")
        return 0
    with waiting(f"Looking at the table {table}"):
        size = table_size(table)
    if not may_read(table, size, yes=yes, consistently=True):
        return 1
    with waiting(f"Reading the table {table}"):
        cleaned = clean_of(deployment, progress=say_progress)
    say((f"{cleaned.cleaned:,} items of {table} are as they were before.", "bold green"))
    if cleaned.left:
        say(f"Left, because the claim of a close or a cleanup holds: {cleaned.left:,}.")
        # The words are rounded down.
        say(f"Run it again in {in_words(cleaned.held_ms + 1_000)}.")
    return 1 if cleaned.left else 0
