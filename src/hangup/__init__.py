"""Hang up on idle Amazon API Gateway WebSocket connections, and clean up after them once."""

__version__ = "0.1.0"
