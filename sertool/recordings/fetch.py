"""A recording as a file on this machine, wherever its audio lies."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace

from sertool.recordings import archives, remote
from sertool.recordings.recording import Recording
from sertool.recordings.urls import split_member


@contextlib.contextmanager
def on_disk(recording: Recording) -> Iterator[Recording]:
    """Yield the recording with the path of a file: its own, or a copy that is gone afterwards. Raises AudioError."""
    if recording.url is None or recording.error:
        yield recording
        return
    copy = remote.temporary(recording.url)
    try:
        if found := split_member(recording.url):
            archives.fetch(*found, copy)
        else:
            remote.fetch(recording.url, copy, recording.stamp)
        yield replace(recording, path=copy)
    finally:
        shutil.rmtree(copy.parent, ignore_errors=True)
