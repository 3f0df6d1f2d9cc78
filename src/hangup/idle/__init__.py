"""The idle timeout: find idle connections, guard, claim, notify, close, hand over.

It works on anybody's connections and knows nothing of sessions. Read ``sweep`` first.
"""
