"""Write into a function's log why it could not start.

On AWS the log has the reason (an import error, say). MiniStack 1.5.33 answers the caller with it
and leaves the log empty.
"""

from typing import Any

from ministack.services import lambda_svc


def install() -> None:
    """Take the error's message for the log where the log is empty."""
    execute = lambda_svc._execute_function_warm  # noqa: SLF001

    def execute_and_explain(*arguments: object) -> dict[str, Any]:
        answer: dict[str, Any] = execute(*arguments)
        if answer.get("error") and answer.get("log") == "":
            answer["log"] = answer["body"]["errorMessage"]
        return answer

    lambda_svc._execute_function_warm = execute_and_explain  # noqa: SLF001
