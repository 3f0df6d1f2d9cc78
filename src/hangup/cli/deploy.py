"""``hangup deploy``."""

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from hangup import __version__
from hangup.aws.stacks import StackState
from hangup.cli.changes import changes_as_json, goes_on, say_changes, say_event, say_outputs
from hangup.cli.deployments import (
    Config,
    EndpointUrl,
    Profile,
    Region,
    Settings,
    deployment_of,
)
from hangup.cli.doctor import is_fit
from hangup.cli.options import AsJson, Yes
from hangup.cli.output import interrupted_means, say, say_json, say_progress, waiting
from hangup.cli.package import functions_zip
from hangup.cli.questions import agreed
from hangup.config import MODE
from hangup.ops.deploy import Proposal, Wanted
from hangup.ops.deployment_file import Deployment
from hangup.ops.drift import differences, other_version
from hangup.ops.template import timeout_template
from hangup.ops.wiring import deployer_of

EXAMPLES: Final = (
    "hangup deploy --mode observe",
    "hangup deploy --yes --set timeout.idle_seconds=300",
    "hangup deploy --json",
)
STATUS: Final = ("the stack is as the file says", "it is not: declined, or failed")


def deploy(  # noqa: PLR0913 - the command's options
    *,
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode",
            metavar="MODE",
            help="close or observe, in place of the file's. observe decides and reports, and"
            " closes nobody.",
            show_default=False,
        ),
    ] = None,
    bucket: Annotated[
        str | None,
        typer.Option(
            "--bucket",
            metavar="NAME",
            help="Your own S3 bucket for the functions' code. Without it, one is made.",
            show_default=False,
        ),
    ] = None,
    zip_file: Annotated[
        Path | None,
        typer.Option(
            "--zip",
            metavar="FILE",
            help="The functions' code, as `hangup package` writes it.",
            show_default=False,
        ),
    ] = None,
    skip_checks: Annotated[
        bool,
        typer.Option("--skip-checks", help="Deploy without `hangup doctor --before`."),
    ] = False,
    yes: Yes = False,
    config: Config = None,
    settings: Settings = None,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> int:
    """Deploy the timeout as a CloudFormation stack beside your own.

    It checks first, as `hangup doctor --before` does, and stops where something
    is broken. It shows what would be made or changed, and asks. Nothing is made
    before you agree, the bucket for the code included. Then it follows the stack.
    Run it again after a change of hangup.toml, an interruption or an upgrade.
    """
    overrides = [*(settings or ()), *([f"timeout.mode={mode}"] if mode else [])]
    if bucket is not None:
        overrides.append(f"code.bucket={bucket}")
    asked = deployment_of(
        config, overrides, profile=profile, region=region, endpoint_url=endpoint_url
    )
    with asked as deployment:
        name = deployment["stack.name"]
        with interrupted_means("nothing is changed; run the same command again"):
            if not (skip_checks or is_fit(deployment)):
                return 1
        with (
            interrupted_means("nothing is deployed by it; run the same command again"),
            waiting(f"Working out what to change in the stack {name}"),
        ):
            deployer = deployer_of(
                happens=(lambda _event: None) if as_json else say_event, say=say_progress
            )
            proposal = deployer.propose(_wanted(deployment, zip_file))
        if proposal is None:
            if as_json:
                say_json({"stack": name, "changes": [], "executed": False})
            else:
                say((f"The stack {name} is as it should be: nothing to change.", "bold green"))
            return 0
        changes = proposal.change_set.changes
        if as_json and not yes:
            deployer.decline(proposal)
            say_json({"stack": name, "changes": changes_as_json(changes), "executed": False})
            return 1
        if not as_json:
            _say_proposal(name, deployment, proposal)
        with interrupted_means("nothing is changed; run the same command again"):
            if not agreed(
                "Make these changes?", yes=yes, otherwise=lambda: deployer.decline(proposal)
            ):
                return 1
        with interrupted_means(goes_on(name)):
            state = deployer.carry_out(proposal)
    if as_json:
        say_json(
            {
                "stack": name,
                "changes": changes_as_json(changes),
                "executed": True,
                "outputs": dict(state.outputs),
            }
        )
    else:
        _say_done(name, deployment, state)
    return 0


def _wanted(deployment: Deployment, zip_file: Path | None) -> Wanted:
    return Wanted(
        stack=deployment["stack.name"],
        template=timeout_template(),
        parameters=deployment.parameters(),
        kept=deployment.kept,
        zip_path=zip_file or functions_zip(deployment["code.architecture"]),
        bucket=deployment["code.bucket"],
        code_key=deployment["code.key"],
    )


def _say_proposal(name: str, deployment: Deployment, proposal: Proposal) -> None:
    new = "would be created" if proposal.change_set.is_creation else "would be changed"
    say((f"The stack {name} {new}:", "bold"))
    if proposal.before is not None:
        _say_drift(deployment, proposal.before)
    say_changes(proposal.change_set.changes)
    made = ", which is made" if proposal.makes_bucket else ""
    say(f"Code in the bucket {proposal.bucket.name}{made}.")
    if deployment["timeout.mode"] == MODE.default:
        say(("It closes idle connections", "bold"), " (--mode observe closes nobody).")
    else:
        say("It observes: it closes nobody.")


def _say_drift(deployment: Deployment, state: StackState) -> None:
    if version := other_version(state):
        say(f"It is of {version}, and becomes {__version__}.")
    for one in differences(deployment, state, json.loads(timeout_template())):
        say(f"{one.name} is {one.held or 'empty'}, and becomes {one.said or 'empty'}.")


def _say_done(name: str, deployment: Deployment, state: StackState) -> None:
    say((f"The stack {name} is deployed.", "bold green"))
    say_outputs(state)
    if deployment["timeout.mode"] == MODE.default:
        return
    say("A sweep a minute reports what it would close, in the function's log.")
    say("Next: `hangup mode close` once that is right.")
