"""Which deployment a command is about, as ``hangup.toml`` and the command line describe it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from hangup.aws.timeout import DeployedTimeout
from hangup.cli.stacks import DEFAULT_STACK, Where
from hangup.errors import BackendError, ConfigurationError
from hangup.ops.deployment_file import FILE_NAME, Deployment, find

_DEPLOYMENT: Final = "Which deployment"

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help=f"The file that describes the deployment (default: {FILE_NAME} here or above).",
        rich_help_panel=_DEPLOYMENT,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting in place of the file's, as timeout.idle_seconds=300; may be repeated.",
        show_default=False,
        rich_help_panel=_DEPLOYMENT,
    ),
]


def described(config: Path | None, settings: Sequence[str] | None) -> Deployment:
    """Return the deployment that ``--config`` and ``--set`` describe.

    Without ``--config`` the file is found upwards from the current folder; there need not be one
    where ``--set`` says all that is needed. Raise ``ConfigurationError``.
    """
    path, overrides = config or find(Path()), settings or ()
    if path is not None:
        return Deployment.from_file(_as_typed(path), overrides)
    if not overrides:
        raise ConfigurationError(
            f"there is no {FILE_NAME} here or in a folder above: run `hangup init`, or name a file"
            " with --config"
        )
    return Deployment.from_text("", f"no {FILE_NAME}", overrides)


@contextmanager
def timeout_of(  # noqa: PLR0913 - the options that say which
    *,
    config: Path | None,
    settings: Sequence[str] | None,
    stack: str | None,
    function: str | None,
    local: bool,
    profile: str | None,
    region: str | None,
    endpoint_url: str | None,
) -> Iterator[DeployedTimeout]:
    """Yield the deployed timeout that these options name, of either kind of stack.

    Within the block AWS is asked as they say. Without any, it is that of the nearest
    ``hangup.toml``, or the stack that has the default name. Raise ``ConfigurationError``,
    ``BackendError`` or ``LocalStackError`` where there is none.
    """
    where = Where(
        stack=stack,
        function=function,
        local=local,
        profile=profile,
        region=region,
        endpoint_url=endpoint_url,
    )
    is_named = local or stack is not None or function is not None
    if is_named and (config is not None or settings):
        raise typer.BadParameter(
            "they exclude --config and --set", param_hint="'--stack' / '--function' / '--local'"
        )
    if not is_named and (config is not None or settings or find(Path()) is not None):
        deployment = described(config, settings)
        account = account_of(deployment, profile=profile, region=region, endpoint_url=endpoint_url)
        where = replace(account, stack=deployment["stack.name"])
        is_named = True
    try:
        with where.timeout() as found:
            yield found
    except BackendError as error:
        if is_named or error.operation != "DescribeStacks" or error.code != "ValidationError":
            raise
        raise ConfigurationError(
            f"there is no {FILE_NAME} here or in a folder above, and no stack {DEFAULT_STACK} in"
            " this account and Region: name a file with --config, a stack with --stack or the"
            " timeout function with --function, or add --local for the stack that `hangup up` runs"
        ) from None


def _as_typed(path: Path) -> Path:
    """Return a path relative to the current folder where it is in there: shorter in errors."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def account_of(
    deployment: Deployment, *, profile: str | None, region: str | None, endpoint_url: str | None
) -> Where:
    """Return who asks AWS about a deployment: the command line's options win over the file."""
    return Where(
        stack=None,
        local=False,
        profile=profile or deployment["stack.profile"],
        region=region or deployment["stack.region"],
        endpoint_url=endpoint_url,
    )
