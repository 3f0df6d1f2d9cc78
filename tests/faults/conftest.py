"""The stack behind a proxy that injects faults."""

from tests.support.faulty_stack import running, site

__all__ = ["running", "site"]
