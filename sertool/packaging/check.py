"""Is a bundle what it says it is, and does it still give on its samples what it gave when it was released?"""

import json

import numpy as np

from sertool import audio, bundle
from sertool.bundle.names import one_line, quoted, regular
from sertool.errors import AudioError, BundleError
from sertool.runtime import Runtime

#: Largest difference of an output that another version of the runtime may make.
TOLERANCE = 1e-3
#: Largest difference that a bundle may declare of itself, of outputs from 0 to 1.
LARGEST = 0.5
#: Of a sample, in seconds, and the most that a model may take for it.
LONGEST_SAMPLE, LIMIT_S = 60, 60.0


def check(found: bundle.Bundle, sha256: str | None = None) -> dict:
    """Everything about a bundle: sums, and of each variant that it loads, is labelled rightly and gives what it should.

    Returns name, version, path, sha256 (of the whole bundle), files, and of each of "variants" its name, file, runtime,
    number of samples, the largest difference from expected.csv and what is allowed. BundleError names the first fault,
    also that of another sha256 than the one asked for.
    """
    digest = bundle.digest(found.path)
    bundle.require_digest(found.path, sha256, digest)
    files = bundle.check_sums(found)
    variants = []
    for variant in found.manifest["variants"]:
        samples, difference = self_test(found, variant["name"])
        allowed = tolerance(variant)
        own = {"name": variant["name"], "file": variant["file"], "runtime": bundle.runtime_of(variant)}
        variants.append({**own, "samples": samples, "difference": difference, "allowed": allowed})
    about = {key: found.manifest[key] for key in ("name", "version")}
    return {**about, "path": str(found.path), "sha256": digest, "files": files, "variants": variants}


def tolerance(variant: dict) -> float:
    """Largest difference from expected.csv, the float32 model's outputs: twice what was measured when it was made."""
    return TOLERANCE + 2 * variant["difference"].get("max", 0)


def self_test(found: bundle.Bundle, variant: str | None = None) -> tuple[int, float]:
    """(samples run, largest difference from expected.csv) of a variant, by default the bundle's.

    BundleError if the manifest in its file is not the bundle's, if it differs by more than its ``tolerance``, or if
    there are no samples.
    """
    expected = bundle.expected_outputs(found)
    if not expected:
        raise BundleError(f"{found.path / bundle.SAMPLES / bundle.EXPECTED}: no samples")
    runtime = Runtime(str(found.path.absolute()), variant)  # a relative path may be a name
    _check_embedded(runtime)
    worst, allowed = 0.0, tolerance(runtime.variant)
    if runtime.input != runtime.variant["input"]:
        raise BundleError(
            f"{runtime.bundle.file(runtime.variant)}: its input is {quoted(runtime.input)}, "
            f"{bundle.MANIFEST} says {runtime.variant['input']!r}"
        )
    if not allowed <= LARGEST:
        raise BundleError(
            f"{found.path / bundle.MANIFEST}: says that outputs of {runtime.variant['file']} may differ by "
            f"{allowed:.2g}; what differs by more than {LARGEST:g} is another model"
        )
    for name, values in expected.items():
        difference = float(abs(sample(found, name, runtime) - values).max())
        if not difference <= allowed:
            raise BundleError(
                f"{found.path / bundle.SAMPLES / name}: outputs of {runtime.variant['file']} differ by "
                f"{difference:.1e} from {bundle.EXPECTED}, more than {allowed:.1e}"
            )
        worst = max(worst, difference)
    return len(expected), worst


def sample(found: bundle.Bundle, name: str, runtime: Runtime) -> np.ndarray:
    """A model's outputs for a sample of a bundle; BundleError if it cannot be read or labelled, or is too long."""
    path = regular(found.path, f"{bundle.SAMPLES}/{name}")
    try:
        samples, blocks = 0, []
        for block in audio.blocks(path):
            blocks.append(block)
            samples += len(block)
            if samples > LONGEST_SAMPLE * audio.SAMPLE_RATE:
                raise BundleError(f"{path}: longer than {LONGEST_SAMPLE} s")
        return runtime.run(np.concatenate(blocks) if blocks else np.zeros(0, np.float32), LIMIT_S)
    except AudioError as error:
        raise BundleError(f"{path}: {one_line(error)}") from None


def _check_embedded(runtime: Runtime) -> None:
    file = runtime.bundle.file(runtime.variant)
    if runtime.embedded is None:
        raise BundleError(f"{file}: no {bundle.METADATA_KEY!r} in its metadata")
    inside = bundle.parse(runtime.embedded, str(file), embedded=True)
    beside = json.loads(bundle.embedded(runtime.bundle.manifest, runtime.variant))
    for key in sorted(inside.keys() | beside.keys()):
        if inside.get(key) != beside.get(key):
            raise BundleError(f"{file}: its metadata and {bundle.MANIFEST} differ in {key!r}")
