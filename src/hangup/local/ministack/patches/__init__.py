"""What MiniStack does otherwise than AWS, and a patch for each.

| On AWS                                             | Patch                  |
|----------------------------------------------------|------------------------|
| a WebSocket route's function runs concurrently     | concurrent_routes      |
| concurrency is bounded, and above it is throttled  | bounded_environments   |
| asynchronous invocations wait in a queue           | waiting_invocations    |
| every invocation counts in AWS/Lambda              | invocation_metrics     |
| EMF lines in a log become metrics                  | embedded_metrics       |
| the reason of a failed start is in the log         | failed_starts          |
| the log of an invocation is whole                  | whole_logs             |
| a delayed message is delivered when it is due      | queue_polling          |
| alarms follow their rule                           | alarms                 |
| $connect and $disconnect are not routes of messages   | route_selection        |
| large and binary frames are refused                | frame_limits           |
| a malformed connection id is a bad request         | connection_ids         |
| connectedAt is the same in all of a connection     | connection_times       |
| GetConnection answers in camelCase and ISO 8601    | connection_form        |
| a message that is posted before a close arrives    | message_before_close   |
| a refused join has the status of the function      | refused_joins          |
| $disconnect runs when the service stops            | orderly_stop           |

Each module says what was observed, in which release. No upstream issue is known for any of them.
``queue_polling``, ``alarms`` and ``orderly_stop`` also have something to run, which the engine's
process does; it gives ``frame_limits`` to uvicorn. What MiniStack's CloudFormation does not take is
changed in the template: ``hangup.local.ministack.template``.
"""

import importlib.metadata
from typing import Final

from hangup.errors import LocalStackError
from hangup.local.ministack.last_active import LastActive

__all__ = ["MINISTACK_VERSION", "install"]

MINISTACK_VERSION: Final = "1.5.33"
"""The release that the patches were made for. pyproject.toml pins the same.

The patches reach into private names, so that another release is refused. A test compares the
signatures of these names: run it after a change of the version.
"""


def install(last_active: LastActive) -> None:
    """Put every patch in place, in this process.

    ``last_active`` says what moves the ``lastActiveAt`` of a connection.
    Raise LocalStackError if the installed MiniStack is not the one that the patches were made for.
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
    from hangup.local.ministack.patches import (  # noqa: PLC0415 - they import MiniStack
        bounded_environments,
        concurrent_routes,
        connection_form,
        connection_ids,
        connection_times,
        embedded_metrics,
        failed_starts,
        invocation_metrics,
        message_before_close,
        orderly_stop,
        refused_joins,
        route_selection,
        waiting_invocations,
        whole_logs,
    )

    connection_times.install(last_active)
    for patch in (
        bounded_environments,
        concurrent_routes,
        connection_form,
        connection_ids,
        embedded_metrics,
        failed_starts,
        invocation_metrics,
        message_before_close,
        orderly_stop,
        refused_joins,
        route_selection,
        waiting_invocations,
        whole_logs,
    ):
        patch.install()
