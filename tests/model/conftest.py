"""The real engines of the contract suite, for the model test too."""

from tests.contract.conftest import dynamodb_local, ministack

__all__ = ["dynamodb_local", "ministack"]
