"""The names of MiniStack that the patches replace are as they were when the patches were made.

When this fails after a change of MiniStack's version, read each patch against the new release.
"""

import importlib.metadata
import inspect
import threading
import tomllib
from pathlib import Path

import pytest
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

from hangup.local.ministack.patches import MINISTACK_VERSION

SEAMS = {
    "core.lambda_runtime.get_or_create_worker": "func_name, config, code_zip, qualifier",
    "core.lambda_runtime.Worker.invoke": (
        "self, event, request_id, trace_id, depth, durable, invoked_function_arn"
    ),
    "core.lambda_runtime.Worker._drain_stderr_bounded": (
        "self, first_line_wait, idle_confirm, hard_cap"
    ),
    "core.lambda_runtime.Worker._drain_stderr": "self",
    "core.lambda_runtime.Worker._spawn": "self",
    "core.lambda_runtime._worker_key": "func_name, config, qualifier",
    "core.lambda_runtime.kill_workers": "workers",
    "core.lambda_runtime.reap_idle_workers": "ttl",
    "core.lambda_runtime.reset": "",
    "services.lambda_svc._execute_function": "func, event",
    "services.lambda_svc._execute_function_dispatch": "func, config, event, request_id, started",
    "services.lambda_svc._execute_function_warm": "func, event, request_id",
    "services.lambda_svc._execute_function_with_config_scope": "func, event",
    "services.lambda_svc._execution_record_for_config": "func, config",
    "services.lambda_svc._get_func_record_for_ref": "function_ref",
    "services.lambda_svc._route_async_failure": "target_arn, func_name, event, result",
    "services.lambda_svc._run_with_function_config_scope": (
        "func_or_config, callback, args, kwargs"
    ),
    "services.lambda_svc._throttle_response": "reason_code, msg, retry_after",
    "services.lambda_svc.acquire_worker": (
        "func_name, config, code_zip, qualifier, max_concurrency"
    ),
    "services.lambda_svc.invoke_async_with_retry": "func, event",
    "services.eventbridge._dispatch_to_lambda": "arn, payload",
    "services.lambda_svc._emit_lambda_logs": (
        "func, request_id, log_text, error, duration_ms, log_source"
    ),
    "services.lambda_svc._emit_lambda_metrics": "function_name, duration_ms, error, throttle",
    "services.cloudwatch.record_metric": "namespace, metric_name, value, unit, dimensions",
    "services.apigateway.handle_connections_api": (
        "method, api_id, stage, connection_id, body, headers"
    ),
    "services.apigateway._evaluate_route_selection": "expr, payload_text",
    "services.apigateway._match_ws_route": "api_id, route_key",
    "services.apigateway._ws_request_context": (
        "api_id, route_key, stage, connection_id, event_type, request_id, source_ip, headers"
    ),
    "services.apigateway._invoke_ws_lambda": (
        "api_id, account_id, region, route, stage, connection_id, event_type, message_id, "
        "body_text, source_ip, headers, query_params, kwargs"
    ),
    "services.apigateway.run_reentrant": "fn, args, thread_name",
    "services.apigateway.handle_websocket": "scope, receive, send, api_id, path_override",
}


def seam(name: str) -> object:
    """Return the attribute of MiniStack with this name, below the package."""
    parts = name.split(".")
    found: object = importlib.import_module(f"ministack.{parts[0]}.{parts[1]}")
    for part in parts[2:]:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", SEAMS)
def test_a_function_that_is_replaced_has_the_parameters_it_had(name: str) -> None:
    function = seam(name)
    assert callable(function)
    assert ", ".join(inspect.signature(function).parameters) == SEAMS[name]


def test_the_worker_calls_a_function_in_one_place() -> None:
    script = seam("core.lambda_runtime._PYTHON_WORKER_SCRIPT")
    assert str(script).count("result = handler_fn(event, context)") == 1


def test_the_poller_of_queues_is_woken_by_an_event() -> None:
    assert isinstance(seam("core.concurrency.esm_wake"), threading.Event)


def test_open_web_sockets_are_known_by_their_connection() -> None:
    assert seam("services.apigateway._ws_connections") == {}


@pytest.mark.parametrize(
    "name",
    [
        "core.lambda_runtime._LOCAL_WORKER_TTL",
        "services.lambda_svc._LAMBDA_ASYNC_RETRY_BASE_SECONDS",
    ],
)
def test_a_time_that_is_read_or_set_is_in_seconds(name: str) -> None:
    assert isinstance(seam(name), float)


def test_workers_are_pooled_by_key() -> None:
    assert seam("core.lambda_runtime._workers") == {}
    assert isinstance(seam("core.lambda_runtime._lock"), type(threading.Lock()))


def test_uvicorn_passes_each_part_of_a_message_through_one_method() -> None:
    assert list(inspect.signature(WSProtocol.handle_message).parameters) == ["self", "event"]
    names = WSProtocol.__init__.__code__.co_names
    assert {"buffer", "close_sent", "close_timeout", "close_timer", "queue"} <= set(names)


def test_the_release_is_the_one_that_is_installed_and_pinned() -> None:
    assert importlib.metadata.version("ministack") == MINISTACK_VERSION
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras = settings["project"]["optional-dependencies"]
    assert f"ministack =={MINISTACK_VERSION}" in extras["local"]
