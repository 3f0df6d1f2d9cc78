"""A variable of the environment: its name, what it may be, and how it is read.

The table of them all is in ``hangup.config``.
"""

import re
from collections.abc import Mapping
from typing import Final, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

from hangup.core.bounds import WholeNumber
from hangup.core.limits import MAX_CONNECTION_S, MAX_ROLES
from hangup.core.texts import Text, Unfit
from hangup.errors import ConfigurationError

ROLE: Final = "[A-Za-z0-9_.-]{1,64}"
"""What a role may be called where the configuration names it."""

Environment = Mapping[str, str]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def is_role(value: object) -> bool:
    """Return whether this may be the name of a role."""
    return isinstance(value, str) and bool(re.fullmatch(ROLE, value, re.ASCII))


class Accepted(Protocol[T_co]):
    """What a variable may be; as text it says so."""

    def accepts(self, value: object) -> bool:
        """Return whether the construct's argument for the variable may be this value."""

    def parse(self, text: str) -> T_co:
        """Return the variable's value; raise ValueError if the text is something else."""


class Variable(NamedTuple, Generic[T]):
    """One row of the table.

    An empty text as ``default`` means that the variable is required. ``read_by`` and ``about`` are
    for people: the functions that read it, and one line of help.
    """

    name: str
    accepted: Accepted[T]
    default: T
    read_by: str
    about: str

    def read(self, env: Environment) -> T:
        """Return the variable's value, parsed; raise ``ConfigurationError`` if there is none."""
        text = env.get(self.name)
        # An empty text counts as not set; an empty number is malformed.
        if text is None or (not text and not isinstance(self.default, int)):
            if self.default == "":
                raise ConfigurationError(f"{self.name} is not set; it must be {self.accepted}")
            return self.default
        try:
            return self.accepted.parse(text)
        except ValueError as error:
            fix = f": {error}" if isinstance(error, Unfit) else ""
            raise ConfigurationError(
                f"{self.name} must be {self.accepted}, not {text!r}{fix}"
            ) from None


class SecondsByRole:
    """Seconds for each of 1 to 10 roles: ``speaker=300,listener=60``."""

    _NUMBER: Final = WholeNumber(at_least=1, at_most=MAX_CONNECTION_S)

    def __str__(self) -> str:
        return f"1 to {MAX_ROLES} roles, separated by commas, each with = and {self._NUMBER}"

    def accepts(self, value: object) -> bool:
        """Return whether this is such a mapping from roles to seconds."""
        return (
            isinstance(value, Mapping)
            and 1 <= len(value) <= MAX_ROLES
            and all(is_role(role) and self._NUMBER.accepts(value[role]) for role in value)
        )

    def parse(self, text: str) -> Mapping[str, int]:
        """Return the seconds by role; raise ``Unfit`` for a role twice, else ``ValueError``."""
        pairs = [pair.partition("=") for pair in text.split(",")]
        seconds = {role: self._NUMBER.parse(number) for role, _, number in pairs}
        if len(seconds) < len(pairs):
            raise Unfit("a role is named twice")
        if not self.accepts(seconds):
            raise ValueError(text)
        return seconds


class ManagementEndpoint(Text):
    """The ``@connections`` URL of a stage: https, or http on loopback."""

    def __init__(self) -> None:
        super().__init__("an https:// URL that ends with the stage", r"[!-~]+")

    def accepts(self, value: object) -> bool:
        """Return whether this is such a URL."""
        try:
            return isinstance(value, str) and bool(self.parse(value))
        except ValueError:
            return False

    def parse(self, text: str) -> str:
        """Return the URL without a slash at its end; raise ``Unfit`` for a known mistake."""
        if not super().accepts(text):
            raise ValueError(text)
        url = urlsplit(text)
        _ = url.port  # raises ValueError where the port is no number
        host, path = url.hostname or "", url.path.strip("/")
        local = host in ("127.0.0.1", "localhost", "::1")
        if url.scheme in ("ws", "wss"):
            raise Unfit("that is the address for clients: write https:// in place of it")
        if "@connections" in path.replace("%40", "@").split("/"):
            raise Unfit("leave out /@connections and what follows it")
        if ".execute-api." in host and not path:
            # A custom domain may stand for one stage and need no path; API Gateway's own cannot.
            raise Unfit("add a slash and the name of the stage")
        secure = url.scheme == "https" or (url.scheme == "http" and local)
        if not (host and secure) or url.query or url.fragment or url.username or url.password:
            raise ValueError(text)
        return text.rstrip("/")
