"""A bundle as a folder: read, written, its files compared with their sums."""

import csv
import hashlib
import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from sertool.bundle import container, graph, names
from sertool.bundle import manifest as manifests
from sertool.bundle.names import quoted, shared_folder
from sertool.errors import BundleError, UsageError

MANIFEST, CARD, SUMS, SAMPLES, EXPECTED = "bundle.json", "README.md", "SHA256SUMS", "samples", "expected.csv"
#: The torch weights, under their names in the network, where a bundle brings them along to be exported again.
WEIGHTS = "weights.safetensors"

_SUM = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True)
class Bundle:
    """A manifest and where it was found: ``path`` is the bundle's folder, or a lone model file."""

    path: Path
    manifest: dict

    @property
    def id(self) -> str:
        """Name, version and the weights' first digits: changes whenever the outputs may."""
        digest = hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()
        return f"{self.manifest['name']} {self.manifest['version']} {digest[:12]}"

    @property
    def outputs(self) -> list[str]:
        return [output["name"] for output in self.manifest["outputs"]]

    def variant(self, name: str | None = None, runtime: str | None = None) -> dict:
        """The named variant's entry, or the default's; of a ``runtime`` the default if that is of it, else the first.

        BundleError if there is none of that name, or of that runtime.
        """
        chosen = [entry for entry in self.manifest["variants"] if name in (None, entry["name"])]
        if not chosen:
            raise BundleError(f"{self.path}: no variant {name!r} (there are: {self._named()})")
        chosen.sort(key=lambda entry: entry["name"] != self.manifest["default"])
        for entry in chosen:
            if runtime in (None, manifests.runtime_of(entry)):
                return entry
        of = f"variant {name!r} is not" if name else "no variant is"
        raise BundleError(f"{self.path}: {of} for runtime {runtime} (there are: {self._named()})")

    def _named(self) -> str:
        return ", ".join(f"{entry['name']} ({manifests.runtime_of(entry)})" for entry in self.manifest["variants"])

    def file(self, variant: dict) -> Path:
        """Path of a variant's model file."""
        return self.path / variant["file"] if self.path.is_dir() else self.path


def read(path: Path) -> Bundle:
    """The bundle in a folder, its manifest checked for form and values; BundleError names what is wrong."""
    if not path.is_dir():
        raise BundleError(f"{path}: not the folder of a bundle")
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise BundleError(f"{manifest} is missing: {path.name} is not a bundle")
    return Bundle(path, manifests.parse(names.read_text(path, MANIFEST), str(manifest)))


def write(folder: Path, manifest: dict, card: str) -> Bundle:
    """Complete a folder that already holds model files and samples: manifest, card, sums.

    Sizes and sums of the variants' files are measured here.
    """
    for variant in manifest["variants"]:
        file = folder / variant["file"]
        variant.update(bytes=file.stat().st_size, sha256=sha256(file))
        if others := beside(folder, variant):
            variant["beside"] = others
    text = manifests.text(manifest)
    manifests.parse(text, str(folder / MANIFEST))
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")
    there = {name for name in names.files(folder) if name != SUMS}
    there |= {name for variant in manifest["variants"] for name in variant.get("beside", {})}
    names.check_paths(sorted(there), str(folder))
    lines = [f"{sha256(place(folder, name))}  {name}\n" for name in sorted(there)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    return read(folder)


def beside(folder: Path, variant: dict) -> dict[str, int]:
    """Name -> bytes of the files that a variant's file refers to."""
    if manifests.runtime_of(variant) != "onnx":
        return {}
    return {name: place(folder, name).stat().st_size for name in sorted(graph.external_files(folder / variant["file"]))}


def sums(folder: Path) -> dict[str, str]:
    """File name -> its sha256, as SHA256SUMS lists them; BundleError for a line or a name that it may not hold."""
    listed = {}
    for line in names.read_text(folder, SUMS).removesuffix("\n").split("\n"):
        found = _SUM.fullmatch(line)
        if not found or found[2] in (*listed, SUMS):
            raise BundleError(f"{folder / SUMS}: {quoted(line)} is not a sum of a file in the bundle")
        listed[found[2]] = found[1]
        if len(listed) > names.MOST_FILES:
            raise BundleError(f"{folder / SUMS}: more than {names.MOST_FILES} files")
    names.check_paths(listed, str(folder / SUMS))
    return listed


def place(folder: Path, name: str) -> Path:
    """Path of a file that a bundle lists: its own, or one that ships with sertool for several models.

    BundleError as ``names.regular``. Whoever uses it compares it with its sum.
    """
    if not os.path.lexists(folder / name) and (shared_folder() / name).is_file():
        return names.regular(shared_folder(), name)
    return names.regular(folder, name)


def digest(folder: Path) -> str:
    """The sha256 that stands for a bundle: that of its SHA256SUMS, which holds those of all its other files."""
    return sha256(names.regular(folder, SUMS))


def require_digest(path: Path, wanted: str | None, *found: str) -> None:
    """BundleError unless ``wanted``, if there is one, is among the digests found; UsageError if it is no sha256."""
    if wanted is None:
        return
    if not re.fullmatch("[0-9a-fA-F]{64}", wanted):
        raise UsageError(f"--sha256 {quoted(wanted)}: a sha256 has 64 digits, 0 to 9 and a to f")
    if wanted.lower() not in found:
        raise BundleError(f"{path}: its sha256 is {found[-1]}, not the one you gave: not the bundle you expect")


def check_sums(bundle: Bundle) -> int:
    """Compare every file with SHA256SUMS and the manifest; the number of files. BundleError names the first fault."""
    folder = bundle.path
    listed = sums(folder)
    for name, expected in listed.items():
        if sha256(place(folder, name)) != expected:
            raise BundleError(f"{folder / name}: its sum is not the one in {SUMS}; the file was changed or damaged")
    needed = {MANIFEST, CARD, f"{SAMPLES}/{EXPECTED}", *(v["file"] for v in bundle.manifest["variants"])}
    if missing := sorted(needed - listed.keys()):
        raise BundleError(f"{folder / SUMS}: {missing[0]} is not listed")
    for name in names.files(folder):
        if name not in listed and name != SUMS:
            raise BundleError(f"{folder}: {quoted(name)} is not listed in {SUMS}: not a part of the bundle, remove it")
    for variant in bundle.manifest["variants"]:
        size = (folder / variant["file"]).stat().st_size
        _match(bundle.file(variant), variant, size, listed[variant["file"]])
    return len(listed)


def check_variant(bundle: Bundle, variant: dict) -> None:
    """BundleError unless the variant's file is the one that the manifest names, and so is all that it refers to.

    What it keeps in other files (ONNX's external data) must be listed in SHA256SUMS, with the right sum.
    """
    path = names.regular(bundle.path, variant["file"])
    _match(path, variant, path.stat().st_size, sha256(path))
    if manifests.runtime_of(variant) != "onnx":
        return
    if others := graph.external_files(path):
        listed = sums(bundle.path)
        for name in others:
            if sha256(place(bundle.path, name)) != listed.get(name):
                raise BundleError(f"{path}: refers to {quoted(name)}, which is not as {SUMS} lists it")


def check_lone(path: Path) -> None:
    """BundleError unless a lone model file is a file, and all that it refers to are files beside or below it."""
    if not container.is_container(names.lone(path)):
        for name in graph.external_files(path):
            names.regular(path.parent, name)


def expected_outputs(bundle: Bundle) -> dict[str, list[float]]:
    """Sample file name -> outputs, from samples/expected.csv; BundleError for one that is no plain name or number."""
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
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _match(path: Path, variant: dict, size: int, found: str) -> None:
    if size != variant["bytes"] or found != variant["sha256"]:
        raise BundleError(f"{path}: not the file that {MANIFEST} describes (wrong size or sum)")
