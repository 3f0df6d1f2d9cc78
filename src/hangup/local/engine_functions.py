"""Mend how MiniStack runs Lambda functions, before it starts.

| on AWS                                               | MiniStack                              |
|------------------------------------------------------|----------------------------------------|
| a WebSocket route's function runs concurrently, logs | one call at a time, no logs            |
| EMF lines in a log become metrics                    | they stay lines                        |
| every invocation counts in AWS/Lambda                | only direct ones; async never fail     |
| an init failure is in the log                        | the log stays empty                    |
| a client sees "Internal server error"                | it sees the text of the exception      |
| a delayed message is delivered when it is due        | a queue is looked at once a second     |
| the log of an invocation is whole                    | its end may be missing (engine_output) |

The seams: ``lambda_runtime.Worker.invoke``, ``acquire_worker``, ``release_worker``,
``get_or_create_worker``, ``cloudwatch.record_metric``, ``concurrency.esm_wake``; and, private,
``lambda_svc._execute_function``, its own central dispatcher, ``Worker._drain_stderr_bounded``,
``Worker._drain_stderr`` and ``lambda_runtime._PYTHON_WORKER_SCRIPT``. ``install`` checks them.
"""

import functools
import importlib.metadata
import inspect
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from hangup.errors import LocalStackError
from hangup.local import engine_output
from hangup.local.metrics import embedded_metrics

__all__ = ["install", "refuse_new_workers"]

MINISTACK_VERSION: Final = "1.5.33"
"""The release that the seams below were read in. pyproject.toml pins the same."""

MAX_ENVIRONMENTS: Final = 4
"""Execution environments per function. Unbounded, fifty clients that connect at once would fork
fifty Python interpreters, which takes two cores half a minute."""

MAX_WAIT_S: Final = 20.0
"""Longest wait for a free environment; after it one more is started, because a function that
waits for a second call of itself would otherwise wait for ever."""

LOOK_EVERY_S: Final = 0.1

_SEAMS: Final = {
    ("ministack.core.lambda_runtime", "acquire_worker"): (
        "func_name, config, code_zip, qualifier, max_concurrency"
    ),
    ("ministack.core.lambda_runtime", "release_worker"): "worker",
    ("ministack.core.lambda_runtime", "get_or_create_worker"): (
        "func_name, config, code_zip, qualifier"
    ),
    ("ministack.core.lambda_runtime", "Worker.invoke"): (
        "self, event, request_id, trace_id, depth, durable, invoked_function_arn"
    ),
    ("ministack.core.lambda_runtime", "Worker._drain_stderr_bounded"): (
        "self, first_line_wait, idle_confirm, hard_cap"
    ),
    ("ministack.core.lambda_runtime", "Worker._drain_stderr"): "self",
    ("ministack.services.cloudwatch", "record_metric"): (
        "namespace, metric_name, value, unit, dimensions"
    ),
    ("ministack.services.lambda_svc", "_execute_function"): "func, event",
}
_OWN_METRICS: Final = frozenset({"Invocations", "Errors", "Duration"})

_stopping = threading.Event()


def refuse_new_workers() -> None:
    """Start no further execution environment: the engine is about to end those that run."""
    _stopping.set()


def look_at_queues() -> None:
    """Let MiniStack look at the queues of functions ten times a second; never return.

    It looks by itself when a message is sent, but not when a delay ends. Lambda on AWS waits at the
    queue (long polling), so that a message is delivered within milliseconds.
    """
    from ministack.core.concurrency import esm_wake  # noqa: PLC0415

    if not isinstance(esm_wake, threading.Event):
        raise LocalStackError("MiniStack's queues are not woken the way they used to be.")
    while not _stopping.wait(LOOK_EVERY_S):
        esm_wake.set()


def install() -> None:
    """Put the mends in place; call before MiniStack's app is imported.

    Raise LocalStackError if the installed MiniStack is not the one that the mends were made for.
    """
    try:
        installed = importlib.metadata.version("ministack")
    except importlib.metadata.PackageNotFoundError:
        installed = "none"
    if installed != MINISTACK_VERSION:
        raise LocalStackError(
            f"The local stack needs ministack {MINISTACK_VERSION} and {installed} is installed; "
            f"run: pip install ministack=={MINISTACK_VERSION}"
        )
    from ministack.core import lambda_runtime  # noqa: PLC0415

    if "ministack.services.lambda_svc" in sys.modules:
        raise LocalStackError("MiniStack's Lambda was imported before it was mended.")
    leases = _Leases(lambda_runtime.acquire_worker, lambda_runtime.release_worker)
    _check("ministack.core.lambda_runtime")
    # Before the import of lambda_svc, which takes these names over by value.
    lambda_runtime.acquire_worker = leases.acquire
    lambda_runtime.release_worker = leases.release
    lambda_runtime.get_or_create_worker = _Route

    from ministack.services import cloudwatch, lambda_svc  # noqa: PLC0415

    _check("ministack.services.cloudwatch")
    _check("ministack.services.lambda_svc")
    if lambda_svc.acquire_worker != leases.acquire:
        raise LocalStackError("MiniStack's Lambda does not take its workers where it used to.")
    record = cloudwatch.record_metric
    cloudwatch.record_metric = _without_own_metrics(record)
    engine_output.mend(lambda_runtime)
    lambda_runtime.Worker.invoke = _recorded(lambda_runtime.Worker.invoke, record)


def _check(module_name: str) -> None:
    """Raise LocalStackError unless every seam of the module has the parameters it should have."""
    for (module, name), expected in _SEAMS.items():
        if module == module_name:
            seam: object = sys.modules[module]
            for part in name.split("."):
                seam = getattr(seam, part, None)
            found = ", ".join(inspect.signature(seam).parameters) if callable(seam) else "nothing"
            if found != expected:
                raise LocalStackError(
                    f"MiniStack's {module}.{name} takes ({found}) instead of ({expected}); "
                    f"reinstall ministack=={MINISTACK_VERSION}."
                )


class _Leases:
    """Bound the execution environments per function; a caller above the bound waits."""

    def __init__(self, acquire: Callable[..., Any], release: Callable[..., Any]) -> None:
        self._acquire = acquire
        self._release = release
        self._slots: dict[str, threading.Semaphore] = defaultdict(
            lambda: threading.Semaphore(MAX_ENVIRONMENTS)
        )
        self._held: dict[int, threading.Semaphore] = {}

    def acquire(
        self,
        func_name: str,
        config: dict[str, Any],
        code_zip: bytes,
        qualifier: str = "$LATEST",
        max_concurrency: int | None = None,
    ) -> tuple[Any, str]:
        slot = self._slots[config["FunctionArn"]]
        held = slot.acquire(timeout=MAX_WAIT_S)
        worker, reason = self._acquire(func_name, config, code_zip, qualifier, max_concurrency)
        if held and worker is None:
            slot.release()
        elif held:
            self._held[id(worker)] = slot
        return worker, reason

    def release(self, worker: Any) -> None:  # noqa: ANN401 - MiniStack is untyped
        slot = self._held.pop(id(worker), None)
        self._release(worker)
        if slot is not None:
            slot.release()


class _Route:
    """What API Gateway's side gets as a worker: each call goes through the central dispatcher.

    That leases an environment per call and writes the logs. A route's function cannot have
    reserved concurrency here: MiniStack does not hand its record over.
    """

    def __init__(
        self, func_name: str, config: dict[str, Any], code_zip: bytes, qualifier: str = "$LATEST"
    ) -> None:
        del func_name, qualifier  # both stand in the configuration
        self._function = {"config": config, "code_zip": code_zip}

    def invoke(self, event: dict[str, Any], request_id: str) -> dict[str, Any]:
        from ministack.services import lambda_svc  # noqa: PLC0415

        answer = lambda_svc._execute_function(self._function, event)  # noqa: SLF001
        if answer.get("error") or answer.get("throttle"):
            # MiniStack sends this text to the client. API Gateway's own names no exception.
            refusal = {
                "message": "Internal server error",
                "connectionId": event["requestContext"]["connectionId"],
                "requestId": request_id,
            }
            return {"status": "error", "error": json.dumps(refusal)}
        return {"status": "ok", "result": answer.get("body")}


def _recorded(invoke: Callable[..., Any], record: Callable[..., None]) -> Callable[..., Any]:
    """Return Worker.invoke that counts each invocation and records its embedded metrics.

    This is the one point that every kind of invocation passes: direct, asynchronous, by rule, by
    route. Its log is whole (``engine_output``), so that all metrics are there when it returns, and
    nobody has to wait for them.
    """

    @functools.wraps(invoke)
    def recorded(worker: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
        if _stopping.is_set():
            return {"status": "error", "error": "The local stack is stopping"}
        started = time.monotonic()
        try:
            answer: dict[str, Any] = invoke(worker, *args, **kwargs)
        except (OSError, RuntimeError) as error:
            # The environment did not start (an import error, say). As an answer instead of an
            # exception its reason gets into the function's log, where one looks for it.
            answer = {"status": "error", "error": str(error), "trace": str(error)}
        duration_ms = (time.monotonic() - started) * 1000
        for datum in embedded_metrics(answer.get("log") or ""):
            record(datum.namespace, datum.name, datum.value, datum.unit, dict(datum.dimensions))
        of_function = {"FunctionName": worker.config["FunctionName"]}
        failed = answer.get("status") != "ok"
        record("AWS/Lambda", "Invocations", 1, "Count", of_function)
        record("AWS/Lambda", "Errors", 1 if failed else 0, "Count", of_function)
        record("AWS/Lambda", "Duration", duration_ms, "Milliseconds", of_function)
        return answer

    return recorded


def _without_own_metrics(record: Callable[..., None]) -> Callable[..., None]:
    """Return record_metric that drops what ``_recorded`` counts itself, or it would count twice."""

    @functools.wraps(record)
    def filtered(
        namespace: str,
        metric_name: str,
        value: float,
        unit: str = "None",
        dimensions: dict[str, str] | None = None,
    ) -> None:
        if namespace != "AWS/Lambda" or metric_name not in _OWN_METRICS:
            record(namespace, metric_name, value, unit, dimensions)

    return filtered
