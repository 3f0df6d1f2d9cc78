"""What differs between a deployed stack and its description: parameters, and the version."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from hangup import __version__
from hangup.aws.stacks import StackState
from hangup.ops.deployment_file import Deployment

CODE: Final = ("CodeBucket", "CodeKey")


class Difference(NamedTuple):
    """A parameter that is not as the file says, by its name in the template."""

    name: str
    held: str
    said: str

    def __str__(self) -> str:
        return f"{self.name} is {self.held or 'empty'}, and the file says {self.said or 'nothing'}"


def differences(
    deployment: Deployment, state: StackState, template: Mapping[str, Any]
) -> Iterator[Difference]:
    """Yield each parameter of the stack that ``hangup deploy`` would change.

    ``template`` is the one that would be deployed. Where the code lies does not count.
    """
    said = deployment.kept(state.parameters) | deployment.parameters()
    for name, about in template["Parameters"].items():
        wanted = said.get(name, str(about.get("Default", "")))
        held = state.parameters.get(name, wanted)
        if held != wanted and name not in CODE:
            yield Difference(name, held, wanted)


def other_version(state: StackState) -> str | None:
    """Return the stack's version where it is not that of the installed package."""
    version = state.outputs.get("HangupVersion", "an older version")
    return None if version == __version__ else version
