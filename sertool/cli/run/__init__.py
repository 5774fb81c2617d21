"""Implementations of the longer commands, imported when the command runs, so that --help is fast."""
