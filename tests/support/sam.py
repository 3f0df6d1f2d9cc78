"""What the transform of SAM needs from outside."""

from collections.abc import Mapping

__all__ = ["NoManagedPolicies"]


class NoManagedPolicies:
    """What the translator asks for policies that are given by name; the example has none."""

    def load(self) -> Mapping[str, str]:
        """Return names and ARNs."""
        return {}
