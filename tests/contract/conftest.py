"""The engines of the contract suite."""

from tests.support.engines import dynamodb_local, ministack, store, tables

__all__ = ["dynamodb_local", "ministack", "store", "tables"]
