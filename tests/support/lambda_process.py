"""A process like Lambda's: what the functions log goes to the standard output of each test."""

import logging
import sys

from hangup.aws.runtime import deadline

__all__ = ["log_to_current_stdout", "start_cold"]

_WARM = ("hangup.handlers.",)
"""Modules that remember something for as long as Lambda keeps a process."""


class _CurrentStdout:
    """Standard output as it is at the time: pytest replaces it for each test."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


def log_to_current_stdout() -> None:
    for logger in logging.root.manager.loggerDict.values():
        if hasattr(logger, "powertools_handler"):
            for handler in getattr(logger, "handlers", []):
                if isinstance(handler, logging.StreamHandler):
                    handler.setStream(_CurrentStdout())


def start_cold() -> None:
    """Forget what the handlers keep between invocations: settings, connections, the secret."""
    deadline.start(None)  # of the last invocation, which the calls of other tests have no part in
    for name, module in list(sys.modules.items()):
        if name.startswith(_WARM):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
