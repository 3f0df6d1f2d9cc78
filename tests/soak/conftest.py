"""The site of the fault matrix, for the soak too."""

from tests.faults.conftest import running, site

__all__ = ["running", "site"]
