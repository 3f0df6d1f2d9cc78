"""MiniStack, the AWS emulator: started, stopped, and patched where it differs from AWS.

Nothing outside this folder imports MiniStack or changes it; a test enforces that.
"""
