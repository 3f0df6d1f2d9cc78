"""What an inspection of an account returns: see ``inspection``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hangup.core.connection import EpochMs


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The caller. ``answered_at_ms`` is AWS's time in the answer, None where it had none."""

    account: str
    arn: str
    answered_at_ms: EpochMs | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage. ``rate`` is its throttle, requests a second; None is the account's."""

    is_deployed: bool
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function as Lambda has it; ``problem`` says why it cannot run.

    ``subnets`` are those of its VPC, none where it is in no VPC. ``vpc`` may be empty.
    """

    name: str
    arn: str
    role: str
    variables: Mapping[str, str]
    vpc: str
    subnets: Sequence[str]
    changed_at_ms: EpochMs | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of EventBridge."""

    name: str
    arn: str
    is_enabled: bool
    targets: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm of CloudWatch; ``metric`` is the name of what it watches."""

    name: str
    metric: str
    about: str
    is_on: bool
    has_actions: bool
    actions_enabled: bool


class Metric(NamedTuple):
    """One metric, by its namespace, its name and one dimension if it has any."""

    namespace: str
    name: str
    dimension: tuple[str, str] | None = None


class Resource(NamedTuple):
    """A resource of a stack."""

    kind: str
    logical_id: str
    physical_id: str
