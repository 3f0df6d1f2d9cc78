"""The site of the fault matrix, for the soak too."""

from tests.support.faulty_stack import running, site

__all__ = ["running", "site"]
