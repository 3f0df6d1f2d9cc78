"""Errors, lost answers and interruptions, planned for the fakes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from hangup.errors import BackendError

Method = TypeVar("Method", bound=Callable[..., Any])


class Observer(Protocol):
    """Hears of every call of the fakes, and may raise in its place."""

    def __call__(self, operation: str, key: str, /) -> None:
        """Take note of an AWS operation and the connection or session that it is about."""
        ...


def _nothing(_operation: str, _key: str) -> None:
    pass


@dataclass(slots=True)
class Faults:
    """Errors to come: ``faults.fail("DeleteConnection")`` fails the next such call.

    ``before`` is called when an operation starts and ``after`` when it has taken effect. What they
    raise is what the caller gets: raised after, it is an answer that was lost. A test can also
    make something else happen in between by them.
    """

    planned: dict[str, list[BackendError]] = field(default_factory=dict)
    before: Observer = _nothing
    after: Observer = _nothing

    def fail(self, operation: str, *, times: int = 1, retryable: bool = True) -> None:
        """Make the next ``times`` calls of an AWS operation fail, with nothing done."""
        error = BackendError(operation, "InternalServerError", "planned", retryable=retryable)
        self.planned.setdefault(operation, []).extend([error] * times)

    @contextmanager
    def call(self, operation: str, key: str = "") -> Iterator[None]:
        """Surround what the operation does."""
        self.before(operation, key)
        if self.planned.get(operation):
            raise self.planned[operation].pop(0)
        yield
        self.after(operation, key)


def aws_call(operation: str) -> Callable[[Method], Method]:
    """Make a method of a fake a call of this AWS operation, about its first argument."""

    def decorate(method: Method) -> Method:
        @wraps(method)
        def surrounded(self: Any, subject: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any method
            key = subject if isinstance(subject, str) else getattr(subject, "connection_id", "")
            with self._faults.call(operation, key):
                return method(self, subject, *args, **kwargs)

        return cast("Method", surrounded)

    return decorate
