"""``hangup demo``: real clients on the local stack, and a check of what became of each."""
