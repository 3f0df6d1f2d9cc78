"""The reference application: sessions with one speaker and its listeners."""
