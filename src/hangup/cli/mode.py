"""``hangup mode``."""

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
from hangup.cli.output import interrupted_means, say, say_aside, say_progress, waiting
from hangup.cli.questions import agreed
from hangup.config import MODE
from hangup.ops.wiring import deployer_of

EXAMPLES: Final = ("hangup mode observe", "hangup mode close --yes")
STATUS: Final = ("the stack is in this mode", "it is not: declined, or failed")


def mode(  # noqa: PLR0913 - the command's options
    *,
    wanted: Annotated[str, typer.Argument(metavar="close|observe", show_default=False)],
    yes: Yes = False,
    config: Config = None,
    settings: Settings = None,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Let a deployed timeout close connections, or only report.

    Nothing else of the stack is changed. In the mode observe each sweep
    reports what it would close, and closes nobody.
    """
    if not MODE.accepted.accepts(wanted):
        raise typer.BadParameter(f"it must be {MODE.accepted}", param_hint="'close|observe'")
    asked = deployment_of(
        config, settings, profile=profile, region=region, endpoint_url=endpoint_url
    )
    with asked as deployment:
        name = deployment["stack.name"]
        deployer = deployer_of(happens=say_event, say=say_progress)
        with (
            interrupted_means("nothing is changed; run the same command again"),
            waiting(f"Looking at the stack {name}"),
        ):
            change = deployer.propose_parameters(name, {"Mode": wanted})
        if change is None:
            say((f"The stack {name} is in the mode {wanted} already.", "bold green"))
        else:
            with interrupted_means("nothing is changed; run the same command again"):
                if not agreed(
                    f"Let the stack {name} close idle connections?",
                    yes=yes or wanted != MODE.default,
                    otherwise=lambda: deployer.stacks.discard(change),
                ):
                    return 1
            with interrupted_means(goes_on(name)):
                deployer.change(change)
            say((f"The stack {name} is in the mode {wanted} now.", "bold green"))
    if deployment["timeout.mode"] != wanted:
        say_aside(
            f"the file still says timeout.mode = {deployment['timeout.mode']}: change it too, or"
            " the next `hangup deploy` sets it back"
        )
    return 0
