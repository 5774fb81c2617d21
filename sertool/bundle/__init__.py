"""What a trained model is on disk: a folder that anyone can check, run and pass on (docs/bundles.md).

Here are its form, its sums and where it is found; ``archive`` packs and installs it, ``compare`` tells two apart.
"""

from . import container
from .folder import (
    CARD,
    EXPECTED,
    MANIFEST,
    SAMPLES,
    SUMS,
    WEIGHTS,
    Bundle,
    beside,
    check_lone,
    check_sums,
    check_variant,
    digest,
    expected_outputs,
    place,
    read,
    require_digest,
    sha256,
    sums,
    write,
)
from .manifest import INPUTS, METADATA_KEY, RESERVED, RUNTIMES, SCHEMA, TASKS, embedded, parse, runtime_of, size
from .store import bundled_folder, find, installed, user_folder

__all__ = [
    "CARD",
    "EXPECTED",
    "INPUTS",
    "MANIFEST",
    "METADATA_KEY",
    "RESERVED",
    "RUNTIMES",
    "SAMPLES",
    "SCHEMA",
    "SUMS",
    "TASKS",
    "WEIGHTS",
    "Bundle",
    "beside",
    "bundled_folder",
    "check_lone",
    "check_sums",
    "check_variant",
    "container",
    "digest",
    "embedded",
    "expected_outputs",
    "find",
    "installed",
    "parse",
    "place",
    "read",
    "require_digest",
    "runtime_of",
    "sha256",
    "size",
    "sums",
    "user_folder",
    "write",
]
