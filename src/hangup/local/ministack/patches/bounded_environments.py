"""Bound the execution environments of a function; a caller above the bound waits.

MiniStack 1.5.33 starts one Python process for each concurrent call. Fifty clients that connect at
once would start fifty, which takes two cores half a minute. Its own bound
(``_LOCAL_MAX_WORKERS``) throttles the caller instead of letting it wait.
"""

import threading
from collections import defaultdict
from typing import Any, Final

from ministack.services import lambda_svc

MAX_ENVIRONMENTS: Final = 4
"""Execution environments of one function."""
MAX_WAIT_S: Final = 20.0
"""Longest wait for a free environment. After it one more is started: a function that waits for a
second call of itself would otherwise wait forever."""


def install() -> None:
    """Bound what the dispatcher runs at once."""
    dispatch = lambda_svc._execute_function_dispatch  # noqa: SLF001
    free = defaultdict[str, threading.Semaphore](lambda: threading.Semaphore(MAX_ENVIRONMENTS))

    def bounded(func: dict[str, Any], config: dict[str, Any], *arguments: object) -> Any:  # noqa: ANN401
        environments = free[config["FunctionArn"]]
        has_one = environments.acquire(timeout=MAX_WAIT_S)
        try:
            return dispatch(func, config, *arguments)
        finally:
            if has_one:
                environments.release()

    lambda_svc._execute_function_dispatch = bounded  # noqa: SLF001
