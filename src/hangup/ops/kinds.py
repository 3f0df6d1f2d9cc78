"""What a value in ``hangup.toml`` may be: checked, and said as JSON Schema.

A kind raises ``Misfit`` for a value that it does not take, with the dotted key of the part that
does not fit. As text it says what the value must be. Bounds are those of ``hangup.config`` and
``hangup.aws.schema_checks``.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

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


class Kind(Protocol):
    """What a value may be."""

    def check(self, key: str, value: object) -> None:
        """Raise ``Misfit`` for a value that is something else."""

    def parse(self, text: str) -> object:
        """Return what a text of the command line stands for; ValueError if it cannot be."""

    def json_schema(self) -> JsonSchema:
        """Return the same for tools that know JSON Schema."""


class Plain:
    """A text or a whole number, as a variable of the functions takes it.

    ``choices`` are all texts that there are, where they can be listed.
    """

    def __init__(self, accepted: Accepted[Any], choices: Sequence[str] = ()) -> None:
        self._accepted = accepted
        self._choices = [str(one) for one in choices]

    def __str__(self) -> str:
        return str(self._accepted)

    def check(self, key: str, value: object) -> None:
        """Raise ``Misfit`` for another value."""
        if self._accepted.accepts(value):
            return
        fix = ""
        if isinstance(value, str):
            try:
                self._accepted.parse(value)
            except Unfit as error:
                fix = f": {error}"
            except ValueError:
                pass
        raise Misfit(key, f"must be {self}, not {shown(value)}{fix}")

    def parse(self, text: str) -> object:
        """Return the value of a text."""
        return self._accepted.parse(text) if isinstance(self._accepted, WholeNumber) else text

    def json_schema(self) -> JsonSchema:
        """Return the bounds of a number, the choices or the pattern of a text."""
        if isinstance(self._accepted, WholeNumber):
            number = self._accepted
            return {"type": "integer", "minimum": number.at_least, "maximum": number.at_most}
        if self._choices:
            return {"enum": self._choices}
        if isinstance(self._accepted, Text):
            return {"type": "string", "pattern": f"^({self._accepted.pattern})$"}
        return {"type": "string"}


class OneOf:
    """One of some numbers."""

    def __init__(self, about: str, numbers: Sequence[int]) -> None:
        self._about = about
        self._numbers = list(numbers)

    def __str__(self) -> str:
        return f"{self._about}: {', '.join(map(str, self._numbers))}"

    def check(self, key: str, value: object) -> None:
        """Raise ``Misfit`` for another value."""
        if type(value) is not int or value not in self._numbers:
            raise Misfit(key, f"must be {self}, not {shown(value)}")

    def parse(self, text: str) -> object:
        """Return the number in a text."""
        return int(text)

    def json_schema(self) -> JsonSchema:
        """Return the numbers."""
        return {"enum": self._numbers}


class Name:
    """A text that the table's schema checks."""

    def __init__(self, about: str) -> None:
        self._about = about

    def __str__(self) -> str:
        return self._about

    def check(self, key: str, value: object) -> None:
        """Raise ``Misfit`` for what is not a text."""
        if not isinstance(value, str):
            raise Misfit(key, f"must be {self}, not {shown(value)}")

    def parse(self, text: str) -> object:
        """Return the text."""
        return text

    def json_schema(self) -> JsonSchema:
        """Return that it is a text."""
        return {"type": "string"}


class Flag:
    """True or false."""

    def __str__(self) -> str:
        return "true or false"

    def check(self, key: str, value: object) -> None:
        """Raise ``Misfit`` for another value."""
        if not isinstance(value, bool):
            raise Misfit(key, f"must be {self}, not {shown(value)}")

    def parse(self, text: str) -> object:
        """Return the truth value."""
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"

    def json_schema(self) -> JsonSchema:
        """Return that it is a truth value."""
        return {"type": "boolean"}


class _Structure:
    """What is written in TOML on the command line, too."""

    def parse(self, text: str) -> object:
        """Return the value; ValueError if the text is not one value in TOML."""
        document = tomllib.loads(f"value = {text}")
        if len(document) != 1:
            raise ValueError(text)
        return document["value"]


class Scalar(_Structure):
    """A text, a whole number or a truth value, which the table's schema checks."""

    def __str__(self) -> str:
        return "a text, a whole number, true or false"

    def check(self, key: str, value: object) -> None:
        """Raise ``Misfit`` for another value."""
        if not isinstance(value, str | int):
            raise Misfit(key, f"must be {self}, not {shown(value)}")

    def json_schema(self) -> JsonSchema:
        """Return the three types."""
        return {"type": ["string", "integer", "boolean"]}


class Listed(_Structure):
    """An array of values of one kind, with bounds on how many."""

    def __init__(self, about: str, of: Kind, *, at_least: int = 0, at_most: int) -> None:
        self._about = about
        self._of = of
        self._numbers = range(at_least, at_most + 1)

    def __str__(self) -> str:
        return self._about

    def check(self, key: str, value: object) -> None:
        """Raise ``Misfit`` for what is not an array, too short or too long, or has a misfit."""
        if not isinstance(value, list) or len(value) not in self._numbers:
            raise Misfit(key, f"must be {self}, not {shown(value)}")
        for place, one in enumerate(value):
            self._of.check(f"{key}[{place}]", one)

    def json_schema(self) -> JsonSchema:
        """Return the kind of its values, and how many there may be."""
        return {
            "type": "array",
            "items": self._of.json_schema(),
            "minItems": self._numbers[0],
            "maxItems": self._numbers[-1],
        }


class Labelled(_Structure):
    """A table from labels to values of one kind."""

    def __init__(self, about: str, label: Text, of: Kind, *, at_most: int) -> None:
        self._about = about
        self._label = label
        self._of = of
        self._at_most = at_most

    def __str__(self) -> str:
        return self._about

    def check(self, key: str, value: object) -> None:
        """Raise ``Misfit`` for another value."""
        if not isinstance(value, dict) or not 1 <= len(value) <= self._at_most:
            raise Misfit(key, f"must be {self}, not {shown(value)}")
        for label, one in value.items():
            if not self._label.accepts(label):
                raise Misfit(key, f"must be {self}: {shown(label)} is not {self._label}")
            self._of.check(f"{key}.{label}", one)

    def json_schema(self) -> JsonSchema:
        """Return the form of the labels and the kind of the values."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^({self._label.pattern})$"},
            "additionalProperties": self._of.json_schema(),
            "minProperties": 1,
            "maxProperties": self._at_most,
        }


class Members(_Structure):
    """A table with members of known names.

    ``needed`` must be there. Of ``one_of``, exactly one must be.
    """

    def __init__(
        self,
        about: str,
        members: Mapping[str, Kind],
        *,
        needed: Sequence[str] = (),
        one_of: Sequence[str] = (),
    ) -> None:
        self._about = about
        self._members = members
        self._needed = list(needed)
        self._one_of = list(one_of)

    def __str__(self) -> str:
        return self._about

    def check(self, key: str, value: object) -> None:
        """Raise ``Misfit`` for another value, for a member that is unknown or one that lacks."""
        if not isinstance(value, dict):
            raise Misfit(key, f"must be {self}, not {shown(value)}")
        for name, one in value.items():
            if name not in self._members:
                raise Misfit(f"{key}.{name}", unknown(name, self._members))
            self._members[name].check(f"{key}.{name}", one)
        for name in self._needed:
            if name not in value:
                raise Misfit(key, f"must be {self}: {name} is missing")
        if self._one_of and len([name for name in self._one_of if name in value]) != 1:
            raise Misfit(key, f"must be {self}")

    def json_schema(self) -> JsonSchema:
        """Return the members, and which there must be."""
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: kind.json_schema() for name, kind in self._members.items()},
            "additionalProperties": False,
        }
        if self._needed:
            schema["required"] = self._needed
        if self._one_of:
            schema["oneOf"] = [{"required": [name]} for name in self._one_of]
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


def plain_text(about: str, pattern: str) -> Plain:
    """Return the texts of a form: what they must be, and a pattern."""
    return Plain(Text(about, pattern))


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
