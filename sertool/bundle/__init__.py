"""Bundles: trained models on disk, as folders that can be checked, run and shared (docs/bundles.md).

This package has the format, the checksums and the lookup by name; sertool.packaging packs, installs and compares.
"""

from sertool.bundle import container
from sertool.bundle.calibration import TYPICAL, Calibration
from sertool.bundle.card import file_table, with_files
from sertool.bundle.folder import (
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
    replacing,
    require_digest,
    sha256,
    sums,
    write,
)
from sertool.bundle.manifest import INPUTS, METADATA_KEY, SCHEMA, Manifest, Output, Variant
from sertool.bundle.store import bundled_folder, find, installed, user_folder
from sertool.registry import RUNTIMES
from sertool.tasks import RESERVED, TASKS

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
    "TYPICAL",
    "WEIGHTS",
    "Bundle",
    "Calibration",
    "Manifest",
    "Output",
    "Variant",
    "beside",
    "bundled_folder",
    "check_lone",
    "check_sums",
    "check_variant",
    "container",
    "digest",
    "expected_outputs",
    "file_table",
    "find",
    "installed",
    "place",
    "read",
    "replacing",
    "require_digest",
    "sha256",
    "sums",
    "user_folder",
    "with_files",
    "write",
]
