"""The public class Bundle."""

from dataclasses import dataclass
from os import PathLike
from typing import Any

from sertool import bundle
from sertool.packaging import check


@dataclass(frozen=True)
class Bundle(bundle.Bundle):
    """A model on disk, with its manifest: ``path``, ``manifest``, ``outputs``, ``id``, ``variant(name)``."""

    @classmethod
    def open(cls, bundle_name: str | PathLike[str]) -> "Bundle":
        """Read a bundle by its name or folder; raise BundleError or UsageError."""
        read = bundle.read(bundle.find(str(bundle_name)))
        return cls(read.path, read.manifest)

    def check(self) -> dict[str, Any]:
        """Compare every file with its checksum and run the self-test of every variant.

        Return what was checked, with the largest difference of each variant. Raises BundleError for the first fault.
        """
        return check.check(self)
