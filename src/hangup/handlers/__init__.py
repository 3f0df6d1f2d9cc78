"""Lambda entry points, one module each: ``hangup.handlers.<name>.lambda_handler``.

Each wires its adapters when it is first called, and keeps them for as long as Lambda keeps the
process. Settings come from environment variables: see ``hangup.config``.
"""
