"""Count every invocation in ``AWS/Lambda``: Invocations, Errors, Duration.

MiniStack 1.5.33 counts only direct calls, an asynchronous one never as an error, and a throttled
one twice. Here each invocation is counted where its log is written, which every invocation passes.
"""

from typing import Any

from ministack.services import cloudwatch, lambda_svc


def install() -> None:
    """Count where logs are written, and leave only throttles to MiniStack's own counting."""
    emit_logs = lambda_svc._emit_lambda_logs  # noqa: SLF001

    def emit_logs_and_count(*arguments: Any, **options: object) -> None:  # noqa: ANN401
        emit_logs(*arguments, **options)
        func, _request_id, _log_text, error, duration_ms = arguments
        dimensions = {"FunctionName": (func.get("config") or func)["FunctionName"]}
        for name, value, unit in (
            ("Invocations", 1, "Count"),
            ("Errors", int(error), "Count"),
            ("Duration", duration_ms, "Milliseconds"),
        ):
            cloudwatch.record_metric("AWS/Lambda", name, value, unit, dimensions)

    def emit_throttle(
        function_name: str, *, duration_ms: float, throttle: bool, **_others: object
    ) -> None:
        # The Invoke API reports a throttle that was counted once more, with the time it took.
        if throttle and not duration_ms:
            dimensions = {"FunctionName": function_name}
            cloudwatch.record_metric("AWS/Lambda", "Throttles", 1, "Count", dimensions)

    lambda_svc._emit_lambda_logs = emit_logs_and_count  # noqa: SLF001
    lambda_svc._emit_lambda_metrics = emit_throttle  # noqa: SLF001
