"""``hangup.toml``: the one description of a deployment, read and checked.

Every error names the file with the line, the key, and what the key must be. What is said on the
command line (``--set timeout.idle_seconds=300``) wins over the file.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.schema_checks import WHAT_IS_MORE
from hangup.core.guard import NOT_WITH_GATEWAY, WHAT_DECIDES, Activity, LastActiveCounts
from hangup.core.hand_over import HandOver
from hangup.core.pacing import close_functions
from hangup.core.timing import LOOK_AHEAD_S
from hangup.errors import ConfigurationError
from hangup.ops.kinds import Misfit, unknown
from hangup.ops.settings import BY_KEY, SECTIONS, SETTINGS
from hangup.ops.table_settings import schema_of
from hangup.ops.toml_text import line_of

FILE_NAME: Final = "hangup.toml"

SCHEMA_PARAMETER: Final = "TableSchema"
"""The template's parameter that most of ``[table]`` goes into."""

CLOSE_FUNCTIONS_PARAMETER: Final = "CloseFunctions"
"""The template's parameter that follows from the pace, where closes are precise."""

_COUNTS: Final = "timeout.last_active_counts"
_RESOLUTION: Final = "timeout.activity_resolution_seconds"
_MAX_BYTES: Final = 100_000
_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$")
_SET: Final = "--set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployment as it is described.

    ``said`` has what the file and the command line say, by dotted keys.
    """

    said: Mapping[str, Any]
    table_schema: TableSchema

    @classmethod
    def from_file(cls, path: Path, overrides: Sequence[str] = ()) -> Self:
        """Read a file; ``overrides`` are texts ``KEY=VALUE``. Raises ``ConfigurationError``."""
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be read: {error.strerror}; `hangup init` writes one"
            ) from None
        if len(content) > _MAX_BYTES:
            raise ConfigurationError(f"{path} has more than {_MAX_BYTES:,} bytes: shorten it")
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{path} is not UTF-8: {error}") from None
        return cls.from_text(text, str(path), overrides)

    @classmethod
    def from_text(cls, text: str, name: str, overrides: Sequence[str] = ()) -> Self:
        """Read the text of a file; errors call it ``name``. Raises ``ConfigurationError``."""
        # As Python opens a text; tomllib takes a lone carriage return for an error.
        text = text.removeprefix("\ufeff").replace("\r\n", "\n")
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = _LINE.search(str(error))
            where = f"{name}:{line[1]}" if line else name
            raise ConfigurationError(f"{where}: not TOML: {_LINE.sub('', str(error))}") from None
        except RecursionError:
            raise ConfigurationError(f"{name}: not TOML: it is nested too deep") from None
        given = dict(map(override_in, overrides))
        try:
            said = {**dict(_settings_in(document)), **given}
            for key, value in said.items():
                BY_KEY[key].kind.check(key, value)
            _check_required(said)
            deployment = cls(said=said, table_schema=schema_of(said))
            _check_together(deployment)
        except Misfit as misfit:
            where = _where(misfit.key, given, text, name)
            raise ConfigurationError(f"{where}: {misfit.key} {misfit}") from None
        return deployment

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - by the key
        """Return what holds for a dotted key: what is said, or the default, or None."""
        return self.said.get(key, BY_KEY[key].default)

    @property
    def timeouts_by_role_s(self) -> Mapping[str, int]:
        """The timeouts of the roles that have one of their own, seconds."""
        by_role: Mapping[str, int] = self["timeout.roles"] or {}
        return by_role

    @property
    def shortest_timeout_s(self) -> int:
        """The shortest of all timeouts, seconds."""
        everyone_s: int = self["timeout.idle_seconds"]
        return min([everyone_s, *self.timeouts_by_role_s.values()])

    @property
    def records_may_decide(self) -> bool:
        """Whether ``timeout.last_active_counts`` may be ``both``."""
        is_recorded = self["timeout.activity"] == Activity.RECORDED
        return is_recorded and self.table_schema.records_decide

    def kept(self, held: Mapping[str, str]) -> dict[str, str]:
        """Return those of a stack's parameters that stay if the file says nothing of them.

        Whose messages count was measured there (``hangup doctor --probe``), and stays true.
        """
        name = str(BY_KEY[_COUNTS].parameter)
        counts = held.get(name)
        may_be = counts != LastActiveCounts.BOTH or self.records_may_decide
        return {name: counts} if counts and may_be and _COUNTS not in self.said else {}

    def parameters(self) -> dict[str, str]:
        """Return the parameters of the template of the timeout alone: those that are said.

        The template has the same defaults for the others.
        """
        parameters = {
            one.parameter: as_parameter(self.said[one.key])
            for one in SETTINGS
            if one.parameter and one.key in self.said
        }
        if self["timeout.precise"]:
            parameters[CLOSE_FUNCTIONS_PARAMETER] = str(
                close_functions(self["timeout.closes_per_second"])
            )
        if self.table_schema != DEFAULT_SCHEMA:
            parameters[SCHEMA_PARAMETER] = self.table_schema.as_json()
        return parameters


def find(start: Path) -> Path | None:
    """Return the ``hangup.toml`` in a folder or the nearest above it, None where there is none."""
    folder = start.absolute()
    return next(
        (file for one in (folder, *folder.parents) if (file := one / FILE_NAME).is_file()), None
    )


def as_parameter(value: Any) -> str:  # noqa: ANN401 - as TOML has it
    """Return a value as a parameter of a template, which is a text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{label}={one}" for label, one in value.items())
    return ",".join(value) if isinstance(value, list) else str(value)


def override_in(text: str) -> tuple[str, Any]:
    """Return the key and the value in ``KEY=VALUE``; raise ``ConfigurationError``."""
    key, equals_sign, value = text.partition("=")
    key = key.strip()
    if not equals_sign:
        raise ConfigurationError(f"{_SET} {text}: must be KEY=VALUE, as in api.stage=prod")
    if key not in BY_KEY:
        raise ConfigurationError(f"{_SET} {text}: {key} {unknown(key, BY_KEY)}")
    kind = BY_KEY[key].kind
    try:
        parsed = kind.parse(value)
        kind.check(key, parsed)
    except (ValueError, RecursionError):  # TOMLDecodeError is one
        raise ConfigurationError(f"{_SET} {text}: {key} must be {kind}") from None
    except Misfit as misfit:
        raise ConfigurationError(f"{_SET} {text}: {misfit.key} {misfit}") from None
    return key, parsed


def _settings_in(document: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys and values in a document. Raises ``Misfit`` for what is unknown there."""
    before = f"{section}." if section else ""
    within = {one.removeprefix(before) for one in (*SECTIONS, *BY_KEY) if one.startswith(before)}
    known = sorted(one for one in within if "." not in one)
    for name, value in document.items():
        key = f"{before}{name}"
        if name not in known:
            raise Misfit(key, unknown(name, known))
        if key not in SECTIONS:
            yield key, value
        elif isinstance(value, dict):
            yield from _settings_in(value, key)
        else:
            raise Misfit(key, f"must be a table, which begins with a line [{key}]")


def _where(key: str, given: Mapping[str, Any], text: str, name: str) -> str:
    """Return where a key is said, in front of an error."""
    if any(key == one or key.startswith((f"{one}.", f"{one}[")) for one in given):
        return _SET
    line = line_of(text, re.sub(r"\[\d+\]", "", key).split("."))
    return f"{name}:{line}" if line else name


def _check_required(said: Mapping[str, Any]) -> None:
    for one in SETTINGS:
        if one.is_required and one.key not in said:
            raise Misfit(one.key, f"is missing: it must be {one.kind}")


def _check_together(deployment: Deployment) -> None:
    """Check what depends on several settings, as the functions and the construct check it."""
    schema, shortest_s = deployment.table_schema, deployment.shortest_timeout_s
    rule = HandOver(deployment["timeout.hand_over"])
    is_named = deployment["api.disconnect_function"] is not None
    is_gateway = deployment["timeout.activity"] == Activity.GATEWAY
    resolution_s = deployment[_RESOLUTION]
    for is_wrong, key, why in (
        (
            rule.calls_handler and not is_named,
            "api.disconnect_function",
            f"is missing: timeout.hand_over is {rule}; name it, or choose delete or never",
        ),
        (
            not rule.calls_handler and is_named,
            "api.disconnect_function",
            (
                f"is never called: timeout.hand_over is {rule}; leave it out, or choose always or"
                " if_left"
            ),
        ),
        (
            rule is HandOver.DELETE and not schema.table_key.has_id,
            "timeout.hand_over",
            f"must not be delete: {WHAT_IS_MORE}",
        ),
        (
            deployment[_COUNTS] == LastActiveCounts.BOTH and not deployment.records_may_decide,
            _COUNTS,
            f"must not be both: {NOT_WITH_GATEWAY if is_gateway else WHAT_DECIDES}",
        ),
        (
            is_gateway and resolution_s > 0,
            _RESOLUTION,
            "must be 0 where timeout.activity is gateway: API Gateway's times are exact",
        ),
        (
            resolution_s >= shortest_s,
            _RESOLUTION,
            f"must be less than the shortest timeout ({shortest_s}), not {resolution_s}",
        ),
        (
            deployment["timeout.roles"] and schema.role is None,
            "timeout.roles",
            "needs table.role: the attribute with the role",
        ),
        (
            deployment["timeout.shards"] > 1 and schema.partition is not None,
            "timeout.shards",
            "must be 1: table.partition is read by one reader",
        ),
        (
            deployment["timeout.precise"] and shortest_s < LOOK_AHEAD_S,
            "timeout.precise",
            f"needs timeouts of at least {LOOK_AHEAD_S} seconds, and the shortest is {shortest_s}",
        ),
    ):
        if is_wrong:
            raise Misfit(key, why)
