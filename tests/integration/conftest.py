"""The stacks of the integration tests."""

from tests.support.local_stack import precise_stack, stack

__all__ = ["precise_stack", "stack"]
