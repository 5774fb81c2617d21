"""Read and write bundle folders, and compare their files with their checksums."""

import contextlib
import csv
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sertool.bundle import container, graph, names
from sertool.bundle.manifest import Manifest, Variant
from sertool.bundle.names import quoted, shared_folder
from sertool.errors import BundleError, UsageError

MANIFEST, CARD, SUMS, SAMPLES, EXPECTED = "bundle.json", "README.md", "SHA256SUMS", "samples", "expected.csv"
#: Optional torch weights, under their names in the network, so that the bundle can be exported again.
WEIGHTS = "weights.safetensors"

_SUM = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True)
class Bundle:
    """A manifest and its location: ``path`` is the bundle's folder, or a single model file."""

    path: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        """Name, version and the first digits of the manifest's SHA-256, which changes whenever the outputs may."""
        digest = hashlib.sha256(json.dumps(self.manifest.to_dict(), sort_keys=True).encode()).hexdigest()
        return f"{self.manifest.name} {self.manifest.version} {digest[:12]}"

    @property
    def outputs(self) -> list[str]:
        return self.manifest.output_names

    def variant(self, name: str | None = None, runtime: str | None = None) -> Variant:
        """Return the named variant, or the default; with ``runtime`` one for that runtime, if possible the default.

        Raises BundleError if there is no variant with that name or for that runtime.
        """
        candidates = [variant for variant in self.manifest.variants if name in (None, variant.name)]
        if not candidates:
            raise BundleError(f"{self.path}: no variant {name!r} (there are: {self._named()})")
        candidates.sort(key=lambda variant: variant.name != self.manifest.default)
        for variant in candidates:
            if runtime in (None, variant.runtime):
                return variant
        subject = f"variant {name!r} is not" if name else "no variant is"
        raise BundleError(f"{self.path}: {subject} for runtime {runtime} (there are: {self._named()})")

    def _named(self) -> str:
        return ", ".join(f"{variant.name} ({variant.runtime})" for variant in self.manifest.variants)

    def file(self, variant: Variant) -> Path:
        """Return the path of a variant's model file."""
        return self.path / variant.file if self.path.is_dir() else self.path


def read(path: Path) -> Bundle:
    """Read the bundle in a folder and check its manifest; raise BundleError, which names the fault."""
    if not path.is_dir():
        raise BundleError(f"{path}: not a bundle folder")
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise BundleError(f"{manifest} is missing: {path.name} is not a bundle")
    return Bundle(path, Manifest.parse(names.read_text(path, MANIFEST), str(manifest)))


def write(folder: Path, manifest: Manifest, card: str) -> Bundle:
    """Write manifest, card and SHA256SUMS to a folder that already contains model files and samples.

    Sets sizes and checksums of the variants' files.
    """
    for variant in manifest.variants:
        file = folder / variant.file
        variant.bytes, variant.sha256 = file.stat().st_size, sha256(file)
        variant.beside = beside(folder, variant)
    text = manifest.text()
    Manifest.parse(text, str(folder / MANIFEST))
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")
    listed = {name for name in names.files(folder) if name != SUMS}
    listed |= {name for variant in manifest.variants for name in variant.beside}
    names.check_paths(sorted(listed), str(folder))
    lines = [f"{sha256(place(folder, name))}  {name}\n" for name in sorted(listed)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    return read(folder)


def beside(folder: Path, variant: Variant) -> dict[str, int]:
    """Return name -> bytes of the files that a variant's file refers to."""
    if variant.runtime != "onnx":
        return {}
    return {name: place(folder, name).stat().st_size for name in sorted(graph.external_files(folder / variant.file))}


def sums(folder: Path) -> dict[str, str]:
    """Read SHA256SUMS: file name -> sha256. Raise BundleError for an invalid line or name."""
    listed: dict[str, str] = {}
    for line in names.read_text(folder, SUMS).removesuffix("\n").split("\n"):
        match = _SUM.fullmatch(line)
        if not match or match[2] in (*listed, SUMS):
            raise BundleError(f"{folder / SUMS}: {quoted(line)} is not the checksum of a file in the bundle")
        listed[match[2]] = match[1]
        if len(listed) > names.MOST_FILES:
            raise BundleError(f"{folder / SUMS}: more than {names.MOST_FILES} files")
    names.check_paths(listed, str(folder / SUMS))
    return listed


def place(folder: Path, name: str) -> Path:
    """Return the path of a file that a bundle lists: in its folder, or a shared file that ships with sertool.

    Raises BundleError as ``names.regular``. The caller compares the file with its checksum.
    """
    if not os.path.lexists(folder / name) and (shared_folder() / name).is_file():
        return names.regular(shared_folder(), name)
    return names.regular(folder, name)


def digest(folder: Path) -> str:
    """Return the sha256 that identifies a bundle: that of its SHA256SUMS, which lists those of all other files."""
    return sha256(names.regular(folder, SUMS))


def require_digest(path: Path, wanted: str | None, *actual: str) -> None:
    """Raise BundleError if ``wanted`` is given but not among ``actual``, UsageError if it is not a sha256."""
    if wanted is None:
        return
    if not re.fullmatch("[0-9a-fA-F]{64}", wanted):
        raise UsageError(f"--sha256 {quoted(wanted)}: a sha256 has 64 digits, 0 to 9 and a to f")
    if wanted.lower() not in actual:
        raise BundleError(f"{path}: its sha256 is {actual[-1]}, not the one you gave: not the bundle you expect")


def check_sums(bundle: Bundle) -> int:
    """Compare every file with SHA256SUMS and the manifest; return the number of files.

    Raises BundleError, which names the first fault.
    """
    folder = bundle.path
    listed = sums(folder)
    for name, expected in listed.items():
        if sha256(place(folder, name)) != expected:
            raise BundleError(
                f"{folder / name}: its checksum is not the one in {SUMS}; the file was changed or damaged"
            )
    needed = {MANIFEST, CARD, f"{SAMPLES}/{EXPECTED}", *(variant.file for variant in bundle.manifest.variants)}
    if missing := sorted(needed - listed.keys()):
        raise BundleError(f"{folder / SUMS}: {missing[0]} is not listed")
    for name in names.files(folder):
        if name not in listed and name != SUMS:
            raise BundleError(f"{folder}: {quoted(name)} is not listed in {SUMS}; remove it")
    for variant in bundle.manifest.variants:
        size = (folder / variant.file).stat().st_size
        _match(bundle.file(variant), variant, size, listed[variant.file])
    return len(listed)


def check_variant(bundle: Bundle, variant: Variant) -> None:
    """Raise BundleError unless the variant's file is the one that the manifest describes.

    Files that it refers to (ONNX's external data) must be listed in SHA256SUMS with the right checksum.
    """
    path = names.regular(bundle.path, variant.file)
    _match(path, variant, path.stat().st_size, sha256(path))
    if variant.runtime != "onnx":
        return
    if others := graph.external_files(path):
        listed = sums(bundle.path)
        for name in others:
            if sha256(place(bundle.path, name)) != listed.get(name):
                raise BundleError(f"{path}: refers to {quoted(name)}, which {SUMS} does not list with this checksum")


def check_lone(path: Path) -> None:
    """Raise BundleError unless a single model file, and all files that it refers to, are regular files.

    The latter must be in the same folder or below it.
    """
    if not container.is_container(names.lone(path)):
        for name in graph.external_files(path):
            names.regular(path.parent, name)


def expected_outputs(bundle: Bundle) -> dict[str, list[float]]:
    """Read samples/expected.csv: file name -> outputs. Raise BundleError for an invalid name or number."""
    path = bundle.path / SAMPLES / EXPECTED
    rows = csv.DictReader(names.read_text(bundle.path, f"{SAMPLES}/{EXPECTED}").splitlines())
    try:
        expected = {row["file"]: [float(row[name]) for name in bundle.outputs] for row in rows}
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise BundleError(f"{path}: {names.one_line(error)}") from None
    for name, values in expected.items():
        if not (name and names.is_plain(name) and all(map(math.isfinite, values))):
            raise BundleError(f"{path}: {quoted(name)} is not a sample with its outputs")
    return expected


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _match(path: Path, variant: Variant, size: int, digest: str) -> None:
    if size != variant.bytes or digest != variant.sha256:
        raise BundleError(f"{path}: not the file that {MANIFEST} describes (wrong size or checksum)")


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield a new folder that replaces ``folder`` if it contains a bundle at the end; else ``folder`` is kept."""
    fresh = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if (fresh / MANIFEST).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
