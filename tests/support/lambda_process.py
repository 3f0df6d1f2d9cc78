"""A process like Lambda's: what the functions log goes to the standard output of each test."""

import logging
import sys

__all__ = ["log_to_current_stdout"]


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
