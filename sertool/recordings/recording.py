"""What is labelled: a file, or a URL or member of an archive that becomes one while it is labelled."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from sertool.recordings.urls import base_of, is_url, without_secrets


@dataclass(frozen=True)
class Recording:
    """A file to label: its path, its name in the table, and an ``error`` if it cannot be read at all.

    ``place`` is its place in the whole list, if it is in a shard of it. With a ``url``, its audio is fetched from there
    while it is labelled, and ``path`` is only its name; ``stamp`` is what changes when it does, if that is known.
    """

    path: Path
    name: str
    error: str | None = None
    place: int | None = None
    url: str | None = None
    stamp: list[int] | None = None

    @property
    def key(self) -> str:
        """What identifies the recording: its absolute path, or its URL without what gives access to it."""
        return without_secrets(self.url) if self.url else os.path.abspath(self.path)

    @classmethod
    def at(cls, url: str, name: str, stamp: list[int] | None = None, error: str | None = None) -> "Recording":
        """Return the recording at a URL."""
        return cls(Path(base_of(url)), name, error, url=url, stamp=stamp)

    @classmethod
    def of_key(cls, key: str, name: str, stamp: list[int] | None) -> "Recording":
        """Return the recording that has a key."""
        return cls.at(key, name, stamp) if is_url(key) else cls(Path(key), name)


def key_of(key: str) -> int:
    """Return a hash of a recording's key, of 64 bits."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


def printable(name: str) -> str:
    """Return a file name as valid UTF-8: invalid bytes become \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
