"""The real engines of the contract suite, for the model test too."""

from tests.support.engines import dynamodb_local, ministack

__all__ = ["dynamodb_local", "ministack"]
