"""What a trained model is on disk: a directory that anyone can check, run and pass on (DESIGN.md section 3)."""

import csv
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import BundleError

SCHEMA = "sertool.bundle/1"
TASKS = ("dimensional", "categorical")
#: What a variant's file takes: 16 kHz samples, or LogMel frames that the C front-end computes of them.
INPUTS = ("waveform", "logmel")
MANIFEST, CARD, SUMS, SAMPLES, EXPECTED = "bundle.json", "README.md", "SHA256SUMS", "samples", "expected.csv"
#: The torch weights, under their names in the network, where a bundle brings them along to be exported again.
WEIGHTS = "weights.safetensors"

#: Under this key of an ONNX file's metadata_props stands the manifest, so that a lone file still labels.
METADATA_KEY = "sertool.bundle"

_KEYS = {
    "schema": str,
    "name": str,
    "version": str,
    "title": str,
    "student": str,
    "task": str,
    "outputs": list,  # of {"name", "range"}
    "sample_rate": int,
    "input": dict,
    "frontend": dict,
    "preprocessing": list,
    "window_s": float,
    "shortest_samples": int,
    "variants": list,  # of {"name", "file", "input", "bytes", "sha256", "difference"}, and what else was measured
    "default": str,  # name of the variant that `label` runs
    "licence": str,
    "training": dict,
    "metrics": dict,
}
_VARIANT_KEYS = {"name": str, "file": str, "input": str}
_MEASURED_ON_FILE = {"bytes": int, "sha256": str, "difference": dict}  # cannot stand inside the file
_LOGMEL_KEYS = {"n_fft": int, "hop": int, "n_mels": int, "normalise": bool}


@dataclass(frozen=True)
class Bundle:
    """A manifest and where it was found: ``path`` is the bundle's folder, or a lone ONNX file."""

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

    def variant(self, name: str | None = None) -> dict:
        """The named variant's entry, or the default's; BundleError if there is none of that name."""
        name, variants = name or self.manifest["default"], self.manifest["variants"]
        for entry in variants:
            if name == entry["name"]:
                return entry
        raise BundleError(f"{self.path}: no variant {name!r} (there are: {', '.join(v['name'] for v in variants)})")

    def file(self, variant: dict) -> Path:
        """Path of a variant's model file."""
        return self.path / variant["file"] if self.path.is_dir() else self.path


def bundled_folder() -> Path:
    """Where the models that ship with sertool lie."""
    return Path(__file__).parent / "bundles"


def user_folder() -> Path:
    """Where the user's own bundles lie: SERTOOL_BUNDLES, or sertool/bundles below the user's data folder."""
    if folder := os.environ.get("SERTOOL_BUNDLES"):
        return Path(folder)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home()
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "sertool" / "bundles"


def installed() -> dict[str, Path]:
    """Name -> folder of every bundle that can be named: the user's own before those that ship."""
    found = {}
    for folder in (bundled_folder(), user_folder()):
        try:
            manifests = sorted(folder.glob(f"*/{MANIFEST}"))
        except OSError:
            continue  # a folder that is not ours to read holds nothing for us
        for manifest in manifests:
            found[manifest.parent.name] = manifest.parent
    return found


def find(model: str) -> Path:
    """A name, a bundle folder or an .onnx file to its path; BundleError names what there is instead."""
    names = installed()
    if model in names:
        return names[model]
    path = Path(model)
    if path.exists():
        return path
    raise BundleError(f"no model {model!r} (there are: {', '.join(names) or 'none'}; or give a bundle folder or file)")


def read(path: Path) -> Bundle:
    """The bundle in a folder, its manifest checked for form; BundleError names what is wrong."""
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise BundleError(f"{manifest} is missing: {path.name} is not a bundle")
    try:
        text = manifest.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{manifest}: {getattr(error, 'strerror', None) or error}") from None
    return Bundle(path, parse(text, str(manifest)))


def parse(text: str, source: str, embedded: bool = False) -> dict:
    """A manifest from JSON; ``embedded`` is the form inside an ONNX file, without what is measured on that file."""
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise BundleError(f"{source}: not JSON ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else None
        raise BundleError(f"{source}: schema {found!r} is unknown here (this sertool reads {SCHEMA!r})")
    _require(manifest, _KEYS, source)
    if manifest["task"] not in TASKS:
        raise BundleError(f"{source}: task {manifest['task']!r} is unknown here (known: {', '.join(TASKS)})")
    if not manifest["outputs"] or not manifest["variants"]:
        raise BundleError(f"{source}: outputs and variants must not be empty")
    for output in manifest["outputs"]:
        _require(output, {"name": str, "range": list}, f"{source}: outputs")
    required = _VARIANT_KEYS | ({} if embedded else _MEASURED_ON_FILE)
    for variant in manifest["variants"]:
        _require(variant, required, f"{source}: variants")
        if variant["input"] not in INPUTS:
            raise BundleError(f"{source}: input {variant['input']!r} is unknown here (known: {', '.join(INPUTS)})")
        if variant["input"] == "logmel":
            _require(manifest["frontend"], _LOGMEL_KEYS, f"{source}: frontend")
    names = [variant["name"] for variant in manifest["variants"]]
    if manifest["default"] not in names or len(set(names)) < len(names):
        raise BundleError(f"{source}: default {manifest['default']!r} must be one of {', '.join(names)}, each once")
        if Path(variant["file"]).name != variant["file"]:
            raise BundleError(f"{source}: variant file {variant['file']!r} must be a plain file name")
    return manifest


def embedded(manifest: dict, variant: dict) -> str:
    """The manifest as it stands inside a variant's ONNX file: all that it takes to label, and to know what it is.

    Without the other variants, without what is measured on the file, and without metrics and recipe, which would be a
    tenth of a small model's file; they are in bundle.json.
    """
    own = {
        "variants": [{key: variant[key] for key in _VARIANT_KEYS}],
        "default": variant["name"],
        "training": {key: value for key, value in manifest["training"].items() if key != "recipe"},
        "metrics": {},
    }
    return json.dumps(manifest | own, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def write(folder: Path, manifest: dict, card: str) -> Bundle:
    """Complete a folder that already holds model files and samples: manifest, card, sums.

    Sizes and sums of the variants' files are measured here.
    """
    for variant in manifest["variants"]:
        file = folder / variant["file"]
        variant.update(bytes=file.stat().st_size, sha256=sha256(file))
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    parse(text, str(folder / MANIFEST))
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    return read(folder)


def check_sums(bundle: Bundle) -> int:
    """Compare every file with SHA256SUMS and the manifest; the number of files. BundleError names the first fault."""
    folder = bundle.path
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BundleError(f"{folder / SUMS}: {error.strerror}") from None
    listed = set()
    for line in lines:
        expected, _, name = line.partition("  ")
        path = folder / name
        if not name or not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"{folder / SUMS}: {line!r} is not a sum of a file in the bundle")
        if not path.is_file():
            raise BundleError(f"{path}: listed in {SUMS} but missing")
        if sha256(path) != expected:
            raise BundleError(f"{path}: its sum is not the one in {SUMS}; the file was changed or damaged")
        listed.add(name)
    needed = {MANIFEST, CARD, f"{SAMPLES}/{EXPECTED}", *(v["file"] for v in bundle.manifest["variants"])}
    if missing := sorted(needed - listed):
        raise BundleError(f"{folder / SUMS}: {missing[0]} is not listed")
    for variant in bundle.manifest["variants"]:
        check_variant(bundle, variant)
    return len(listed)


def check_variant(bundle: Bundle, variant: dict) -> None:
    """BundleError unless the variant's file is there with the size and sum that the manifest names."""
    path = bundle.file(variant)
    if not path.is_file():
        raise BundleError(f"{path}: missing")
    if path.stat().st_size != variant["bytes"] or sha256(path) != variant["sha256"]:
        raise BundleError(f"{path}: not the file that {MANIFEST} describes (wrong size or sum)")


def expected_outputs(bundle: Bundle) -> dict[str, list[float]]:
    """Sample file name -> outputs, from samples/expected.csv."""
    path = bundle.path / SAMPLES / EXPECTED
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            return {row["file"]: [float(row[name]) for name in bundle.outputs] for row in csv.DictReader(stream)}
    except (OSError, KeyError, ValueError) as error:
        raise BundleError(f"{path}: {error}") from None


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _require(table, keys: dict, source: str) -> None:
    for key, kind in keys.items():
        if not isinstance(table, dict) or key not in table:
            raise BundleError(f"{source}: key {key!r} is missing")
        value = table[key]
        right = isinstance(value, (int, float)) if kind is float else isinstance(value, kind)
        if not right or isinstance(value, bool) != (kind is bool):
            raise BundleError(f"{source}: {key!r} must be {kind.__name__}, not {type(value).__name__}")
