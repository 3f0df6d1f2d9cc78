"""What a value in ``hangup.toml`` may be: checked, and said as JSON Schema.

A kind raises ``Misfit`` for a value that it does not take, with the dotted key of the part that
does not fit. As text it says what the value must be. Bounds are those of ``hangup.config`` and
``hangup.aws.schema_checks``.
"""

import difflib
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from hangup.core.bounds import WholeNumber
from hangup.core.texts import Text, Unfit
from hangup.variables import Accepted

JsonSchema = Mapping[str, Any]

_SHOWN: Final = 60


class Misfit(Exception):
    """A value does not fit: ``key`` (dotted) says which, the text what it must be."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


Part = tuple[str, "Kind", object]
"""A part of a value: its key, what it may be, and what it is."""


@dataclass(frozen=True, slots=True)
class Kind(ABC):
    """What a value may be; ``about`` says so."""

    about: str

    def __str__(self) -> str:
        return self.about

    @abstractmethod
    def accepts(self, value: object) -> bool:
        """Return whether it may be this value, whatever its parts are."""

    @abstractmethod
    def json_schema(self) -> JsonSchema:
        """Return the same for tools that know JSON Schema."""

    def parse(self, text: str) -> object:
        """Return what a text of the command line stands for: a value in TOML.

        Raise ``ValueError`` if it cannot be.
        """
        document = tomllib.loads(f"value = {text}")
        if len(document) != 1:
            raise ValueError(text)
        return document["value"]

    def check(self, key: str, value: object) -> None:
        """Raise ``Misfit`` for a value that is something else, or has a part that is."""
        if not self.accepts(value):
            raise Misfit(key, f"must be {self}, not {shown(value)}{self.mistake_in(value)}")
        for part_key, kind, part in self.parts(key, value):
            kind.check(part_key, part)

    def mistake_in(self, value: object) -> str:  # noqa: ARG002 - most kinds know of none
        """Return a known mistake in another value, as the end of an error; or nothing."""
        return ""

    def parts(self, key: str, value: Any) -> Iterable[Part]:  # noqa: ANN401, ARG002 - by the kind
        """Return the parts of a value. Raise ``Misfit`` where one is unknown or missing."""
        return ()


@dataclass(frozen=True, slots=True)
class Plain(Kind):
    """A text or a whole number, as a variable of the functions takes it (see ``plain``)."""

    accepted: Accepted[Any]
    choices: Sequence[str]

    def accepts(self, value: object) -> bool:
        """Return whether the variable may be this value."""
        return self.accepted.accepts(value)

    def mistake_in(self, value: object) -> str:
        """Return what is wrong with a text, where that is known."""
        if isinstance(value, str):
            try:
                self.accepted.parse(value)
            except ValueError as error:
                return f": {error}" if isinstance(error, Unfit) else ""
        return ""

    def parse(self, text: str) -> object:
        """Return the value of a text."""
        return self.accepted.parse(text) if isinstance(self.accepted, WholeNumber) else text

    def json_schema(self) -> JsonSchema:
        """Return the bounds of a number, the choices or the pattern of a text."""
        if isinstance(self.accepted, WholeNumber):
            number = self.accepted
            return {"type": "integer", "minimum": number.at_least, "maximum": number.at_most}
        if self.choices:
            return {"enum": self.choices}
        if isinstance(self.accepted, Text):
            return {"type": "string", "pattern": f"^({self.accepted.pattern})$"}
        return {"type": "string"}


@dataclass(frozen=True, slots=True)
class OneOf(Kind):
    """One of some numbers."""

    numbers: Sequence[int]

    def __str__(self) -> str:
        return f"{self.about}: {', '.join(map(str, self.numbers))}"

    def accepts(self, value: object) -> bool:
        """Return whether it is one of the numbers; no other type is, not even True."""
        return type(value) is int and value in self.numbers

    def parse(self, text: str) -> object:
        """Return the number in a text."""
        return int(text)

    def json_schema(self) -> JsonSchema:
        """Return the numbers."""
        return {"enum": list(self.numbers)}


@dataclass(frozen=True, slots=True)
class Name(Kind):
    """A text that the table's schema checks."""

    def accepts(self, value: object) -> bool:
        """Return whether it is a text."""
        return isinstance(value, str)

    def parse(self, text: str) -> object:
        """Return the text."""
        return text

    def json_schema(self) -> JsonSchema:
        """Return that it is a text."""
        return {"type": "string"}


@dataclass(frozen=True, slots=True)
class Flag(Kind):
    """True or false."""

    about: str = "true or false"

    def accepts(self, value: object) -> bool:
        """Return whether it is a truth value."""
        return isinstance(value, bool)

    def parse(self, text: str) -> object:
        """Return the truth value."""
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"

    def json_schema(self) -> JsonSchema:
        """Return that it is a truth value."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Scalar(Kind):
    """A text, a whole number or a truth value, which the table's schema checks."""

    about: str = "a text, a whole number, true or false"

    def accepts(self, value: object) -> bool:
        """Return whether it is of one of the three types."""
        return isinstance(value, str | int)

    def json_schema(self) -> JsonSchema:
        """Return the three types."""
        return {"type": ["string", "integer", "boolean"]}


@dataclass(frozen=True, slots=True)
class Listed(Kind):
    """An array of values of one kind, with bounds on how many."""

    of: Kind
    at_most: int
    at_least: int = 0

    def accepts(self, value: object) -> bool:
        """Return whether it is an array that is neither too short nor too long."""
        return isinstance(value, list) and self.at_least <= len(value) <= self.at_most

    def parts(self, key: str, value: Any) -> Iterable[Part]:  # noqa: ANN401 - an array
        """Return the values in the array."""
        return ((f"{key}[{place}]", self.of, one) for place, one in enumerate(value))

    def json_schema(self) -> JsonSchema:
        """Return the kind of its values, and how many there may be."""
        return {
            "type": "array",
            "items": self.of.json_schema(),
            "minItems": self.at_least,
            "maxItems": self.at_most,
        }


@dataclass(frozen=True, slots=True)
class Labelled(Kind):
    """A table from labels to values of one kind."""

    label: Text
    of: Kind
    at_most: int

    def accepts(self, value: object) -> bool:
        """Return whether it is a table that has something in it, and not too much."""
        return isinstance(value, dict) and 1 <= len(value) <= self.at_most

    def parts(self, key: str, value: Any) -> Iterable[Part]:  # noqa: ANN401 - a table
        """Yield the values by their labels. Raise ``Misfit`` for what is not a label."""
        for label, one in value.items():
            if not self.label.accepts(label):
                raise Misfit(key, f"must be {self}: {shown(label)} is not {self.label}")
            yield f"{key}.{label}", self.of, one

    def json_schema(self) -> JsonSchema:
        """Return the form of the labels and the kind of the values."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^({self.label.pattern})$"},
            "additionalProperties": self.of.json_schema(),
            "minProperties": 1,
            "maxProperties": self.at_most,
        }


@dataclass(frozen=True, slots=True)
class Members(Kind):
    """A table with members of known names.

    ``needed`` must be there. Of ``one_of``, exactly one must be.
    """

    members: Mapping[str, Kind]
    needed: Sequence[str]
    one_of: Sequence[str] = ()

    def accepts(self, value: object) -> bool:
        """Return whether it is a table."""
        return isinstance(value, dict)

    def parts(self, key: str, value: Any) -> Iterable[Part]:  # noqa: ANN401 - a table
        """Yield the members. Raise ``Misfit`` for one that is unknown and one that lacks."""
        for name, one in value.items():
            if name not in self.members:
                raise Misfit(f"{key}.{name}", unknown(name, self.members))
            yield f"{key}.{name}", self.members[name], one
        for name in self.needed:
            if name not in value:
                raise Misfit(key, f"must be {self}: {name} is missing")
        if self.one_of and len([name for name in self.one_of if name in value]) != 1:
            raise Misfit(key, f"must be {self}")

    def json_schema(self) -> JsonSchema:
        """Return the members, and which there must be."""
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: kind.json_schema() for name, kind in self.members.items()},
            "additionalProperties": False,
            "required": list(self.needed),
        }
        if self.one_of:
            schema["oneOf"] = [{"required": [name]} for name in self.one_of]
        return schema


class Setting(NamedTuple):
    """One setting.

    ``key`` is dotted. ``default`` is what holds where it is not said; None where nothing does.
    ``example`` is a value to show where there is neither a value nor a default.
    """

    key: str
    kind: Kind
    about: str
    parameter: str = ""
    default: object = None
    is_required: bool = False
    example: object = None

    @property
    def section(self) -> str:
        """The table that it is in: ``table.names`` for ``table.names.handovers``."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its key within the section."""
        return self.key.rpartition(".")[2]


def plain(accepted: Accepted[Any], choices: Sequence[str] = ()) -> Plain:
    """Return what a variable takes; ``choices`` are all texts, where they can be listed."""
    return Plain(str(accepted), accepted, [str(one) for one in choices])


def plain_text(about: str, pattern: str) -> Plain:
    """Return the texts of a form: what they must be, and a pattern."""
    return plain(Text(about, pattern))


def unknown(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """Return what to say of a name that is not known: what was meant, or what there is."""
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f"is unknown; did you mean {close[0]}?"
    return f"is unknown; there are {', '.join(known)}"


def shown(value: object) -> str:
    """Return a value as TOML writes it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
