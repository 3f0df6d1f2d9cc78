"""Which deployment a command is about, and who asks AWS about it.

It is the one that ``hangup.toml`` describes, or a deployed stack, or that of a function.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, TypeVar
from urllib.parse import urlsplit

import typer

from hangup.aws import clients
from hangup.aws.deployment import (
    DeployedStack,
    DeployedTimeout,
    deployed_join_secret,
    deployed_stack,
    deployed_timeout,
)
from hangup.cli.options import STATE_DIR, need_local_stack
from hangup.cli.output import waiting
from hangup.config import FUNCTION_NAME
from hangup.errors import BackendError, ConfigurationError
from hangup.ops.deployment_file import FILE_NAME, Deployment, find

_DEFAULT_STACK: Final = "Hangup"
_DEPLOYMENT: Final = "Which deployment"
_WHICH: Final = "Which stack"
_WHO: Final = "How AWS is asked"
_ENDPOINTS: Final = "AWS_ENDPOINT_URL"

Found = TypeVar("Found")


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, say
        valid = False
    if not valid:
        raise typer.BadParameter(f"{text!r} is not an http or https URL")
    return text


def _function(text: str) -> str:
    if not FUNCTION_NAME.accepts(text):
        raise typer.BadParameter(f"{text!r} is not {FUNCTION_NAME}")
    return text


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
Function = Annotated[
    str | None,
    typer.Option(
        "--function",
        metavar="NAME",
        parser=_function,
        help="Name or ARN of the timeout function, whatever stack it is in.",
        rich_help_panel=_WHICH,
        show_default=False,
    ),
]
Stack = Annotated[
    str | None,
    typer.Option(
        "--stack",
        metavar="NAME",
        help=f"Name of the CloudFormation stack on AWS (default: {_DEFAULT_STACK}).",
        rich_help_panel=_WHICH,
    ),
]
Local = Annotated[
    bool,
    typer.Option(
        "--local", help="The stack that `hangup up` runs in this folder.", rich_help_panel=_WHICH
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Profile of the AWS configuration, as AWS_PROFILE.",
        rich_help_panel=_WHO,
    ),
]
Region = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="NAME",
        help="AWS Region, as AWS_DEFAULT_REGION.",
        rich_help_panel=_WHO,
    ),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        metavar="URL",
        parser=_url,
        help="Where to reach AWS's services, as AWS_ENDPOINT_URL. Connections are managed at the"
        " stack's own ManagementEndpoint.",
        rich_help_panel=_WHO,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What these options say. Raises ``typer.BadParameter`` where they contradict each other."""

    stack: str | None = None
    function: str | None = None
    local: bool = False
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is about AWS together with the local stack, and a stack with a function."""
        if self.function is not None and (self.local or self.stack is not None):
            raise typer.BadParameter(
                "it excludes --stack and --local, which name a stack", param_hint="'--function'"
            )
        if self.local and self._about_aws:
            raise typer.BadParameter(
                f"it excludes {self._about_aws[0]}, which is about a stack on AWS",
                param_hint="'--local'",
            )

    @property
    def _about_aws(self) -> list[str]:
        """The options about AWS that were given, with their values."""
        given = {
            "--stack": self.stack,
            "--function": self.function,
            "--profile": self.profile,
            "--region": self.region,
            "--endpoint-url": self.endpoint_url,
        }
        return [
            word for name, value in given.items() if value is not None for word in (name, value)
        ]

    @property
    def again(self) -> list[str]:
        """The options that lead to the same stack again."""
        return ["--local"] if self.local else self._about_aws

    def of(self, deployment: Deployment) -> "Where":
        """Return the same about the stack of a deployment; these options win over its file."""
        return replace(
            self,
            stack=deployment["stack.name"],
            profile=self.profile or deployment["stack.profile"],
            region=self.region or deployment["stack.region"],
        )

    @contextmanager
    def deployed(self) -> Iterator[DeployedStack]:
        """Yield the stack; everything that is asked within the block is asked as the options say.

        Raises ``BackendError`` or ``LocalStackError`` if there is no such reference stack.
        """
        with self.account():
            yield self._find(deployed_stack, _local_stack, by_function=DeployedStack.of_function)

    @contextmanager
    def timeout(self) -> Iterator[DeployedTimeout]:
        """Yield the timeout in the stack, of either kind; else as ``deployed``.

        Raises ``ConfigurationError`` too, for a function whose environment is malformed.
        """
        with self.account():
            yield self._find(
                deployed_timeout,
                _local_timeout,
                by_function=DeployedTimeout.of_function,
                of_sessions=False,
            )

    def join_secret(self) -> str:
        """Return the stack's join secret; raise as ``deployed`` does."""
        with self.account():
            return self._find(deployed_join_secret, _local_join_secret)

    def _find(
        self,
        on_aws: Callable[[str], Found],
        here: Callable[[], Found],
        *,
        by_function: Callable[[str], Found] | None = None,
        of_sessions: bool = True,
    ) -> Found:
        if self.function is not None and by_function is not None:
            with waiting("Looking for the function"):
                return by_function(self.function)
        if self.local:
            need_local_stack()
        elif of_sessions and self.stack is None and (file := find(Path())) is not None:
            raise ConfigurationError(
                f"{file.name} describes a timeout alone, without sessions: this command is for the"
                " reference application, whose stack --stack names"
            )
        with waiting("Looking for the stack"):
            return here() if self.local else on_aws(self.stack or _DEFAULT_STACK)

    @contextmanager
    def account(self) -> Iterator[None]:
        """Let the options decide, until the end of the block, who asks AWS and where.

        This is the one place: they become the environment variables of the same meaning, from which
        both botocore and ``aws.http.account`` read who asks.
        """
        changes: dict[str, str | None] = {}
        if self.profile is not None:
            changes |= {"AWS_PROFILE": self.profile, "AWS_DEFAULT_PROFILE": None}
        region = self.region or _region_in(self.function or "")
        if region is not None:
            changes |= {"AWS_DEFAULT_REGION": region, "AWS_REGION": region}
        if self.endpoint_url is not None:
            # What is set for one service, or says that nothing is set, would win otherwise.
            changes |= {name: None for name in os.environ if name.startswith(f"{_ENDPOINTS}_")}
            changes |= {_ENDPOINTS: self.endpoint_url, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": None}
        if not changes:
            yield
            return
        before = {name: os.environ.get(name) for name in changes}
        _set(changes)
        clients.session.cache_clear()
        if self.profile is not None:
            # Said to the session as well: keys in the environment win over the variable alone.
            clients.session().set_config_variable("profile", self.profile)
        try:
            yield
        finally:
            _set(before)
            clients.session.cache_clear()


def _region_in(function: str) -> str | None:
    """Return the Region that an ARN names; a name has none."""
    parts = function.split(":")
    return parts[3] if parts[0] == "arn" and len(parts) > 6 else None  # noqa: PLR2004 - an ARN's parts


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _local_stack() -> DeployedStack:
    from hangup.local.up import local_stack  # noqa: PLC0415 - its parts are an extra

    return local_stack(STATE_DIR)


def _local_timeout() -> DeployedTimeout:
    from hangup.local.up import local_timeout  # noqa: PLC0415 - its parts are an extra

    return local_timeout(STATE_DIR)


def _local_join_secret() -> str:
    from hangup.local.up import local_join_secret  # noqa: PLC0415 - its parts are an extra

    return local_join_secret(STATE_DIR)


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
def deployment_of(
    config: Path | None,
    settings: Sequence[str] | None,
    *,
    profile: str | None,
    region: str | None,
    endpoint_url: str | None,
) -> Iterator[Deployment]:
    """Yield the deployment that is described; within the block AWS is asked as the options say."""
    deployment = described(config, settings)
    with Where(profile=profile, region=region, endpoint_url=endpoint_url).of(deployment).account():
        yield deployment


@contextmanager
def timeout_of(
    where: Where, *, config: Path | None, settings: Sequence[str] | None
) -> Iterator[DeployedTimeout]:
    """Yield the deployed timeout that these options name, of either kind of stack.

    Within the block AWS is asked as they say. Without any, it is that of the nearest
    ``hangup.toml``, or the stack that has the default name. Raise ``ConfigurationError``,
    ``BackendError`` or ``LocalStackError`` where there is none.
    """
    is_named = where.local or where.stack is not None or where.function is not None
    is_described = config is not None or bool(settings)
    if is_named and is_described:
        raise typer.BadParameter(
            "they exclude --config and --set", param_hint="'--stack' / '--function' / '--local'"
        )
    if not is_named and (is_described or find(Path()) is not None):
        where = where.of(described(config, settings))
        is_named = True
    try:
        with where.timeout() as found:
            yield found
    except BackendError as error:
        if is_named or error.operation != "DescribeStacks" or error.code != "ValidationError":
            raise
        raise ConfigurationError(
            f"there is no {FILE_NAME} here or in a folder above, and no stack {_DEFAULT_STACK} in"
            " this account and Region: name a file with --config, a stack with --stack or the"
            " timeout function with --function, or add --local for the stack that `hangup up` runs"
        ) from None


def _as_typed(path: Path) -> Path:
    """Return a path relative to the current folder where it is in there: shorter in errors."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
