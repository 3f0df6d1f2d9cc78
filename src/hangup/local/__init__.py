"""The stack on a laptop: MiniStack on loopback, the packaged template, a demo."""
