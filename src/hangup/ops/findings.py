"""What the checks of ``hangup doctor`` return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hangup.ops.troubles import TROUBLES, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    ``name`` is the trouble's, or the check's where all is well. ``message`` is what a user sees
    elsewhere because of it, word for word, empty where that is nothing. ``fix`` is a command,
    empty where all is well.
    """

    status: Status
    name: str
    what: str
    cause: str = ""
    fix: str = ""
    message: str = ""

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to do."""
        return self.status is Status.OK

    def as_json(self) -> Mapping[str, str]:
        """Return it for programs."""
        return {
            "status": str(self.status),
            "name": self.name,
            "what": self.what,
            "cause": self.cause,
            "fix": self.fix,
            "message": self.message,
        }


def well(name: str, what: str) -> Finding:
    """Return that all is well with something."""
    return Finding(status=Status.OK, name=name, what=what)


def found(name: str, cause: str, *, fix: str) -> Finding:
    """Return a trouble of ``TROUBLES`` with its cause, and the command that ends it."""
    trouble = TROUBLES[name]
    return Finding(
        status=trouble.status,
        name=name,
        what=trouble.what,
        cause=cause,
        fix=fix,
        message=trouble.message,
    )


def worst(findings: Sequence[Finding]) -> Status:
    """Return the worst status of all; ok for none."""
    order = list(Status)
    return max((one.status for one in findings), key=order.index, default=Status.OK)
