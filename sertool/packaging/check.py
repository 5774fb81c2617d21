"""Check a bundle: its checksums, and whether its outputs on its samples are still those of the release."""

from typing import Any

import numpy as np

from sertool import audio, bundle
from sertool._types import Samples
from sertool.bundle.names import one_line, quoted, regular
from sertool.errors import AudioError, BundleError
from sertool.runtime import Runtime

#: Largest difference of an output that is allowed between versions of the runtime.
TOLERANCE = 1e-3
#: Largest difference that a bundle may declare, for outputs from 0 to 1.
LARGEST = 0.5
#: Maximum length of a sample, and maximum run time for it, in seconds.
LONGEST_SAMPLE, LIMIT_S = 60, 60.0


def check(target: bundle.Bundle, sha256: str | None = None) -> dict[str, Any]:
    """Check a bundle's checksums, and that every variant loads, matches the manifest and gives the expected outputs.

    Returns name, version, path, sha256 (of the whole bundle), number of files, and for each of "variants" its name,
    file, runtime, number of samples, the largest difference from expected.csv and the allowed one. Raises BundleError
    for the first fault, including a sha256 other than the given one.
    """
    digest = bundle.digest(target.path)
    bundle.require_digest(target.path, sha256, digest)
    files = bundle.check_sums(target)
    variants = []
    for variant in target.manifest.variants:
        samples, difference = self_test(target, variant.name)
        allowed = tolerance(variant)
        identity = {"name": variant.name, "file": variant.file, "runtime": variant.runtime}
        variants.append({**identity, "samples": samples, "difference": difference, "allowed": allowed})
    about = {"name": target.manifest.name, "version": target.manifest.version}
    return {**about, "path": str(target.path), "sha256": digest, "files": files, "variants": variants}


def tolerance(variant: bundle.Variant) -> float:
    """Return the allowed difference from expected.csv (float32 outputs): TOLERANCE plus twice the measured one."""
    return TOLERANCE + 2 * variant.largest_difference


def self_test(target: bundle.Bundle, variant: str | None = None) -> tuple[int, float]:
    """Run a variant, by default the default one; return (number of samples, largest difference from expected.csv).

    Raises BundleError if the embedded manifest differs from the bundle's, if an output differs by more than
    ``tolerance``, or if there are no samples.
    """
    expected = bundle.expected_outputs(target)
    if not expected:
        raise BundleError(f"{target.path / bundle.SAMPLES / bundle.EXPECTED}: no samples")
    runtime = Runtime(str(target.path.absolute()), variant)  # a relative path may be a name
    _check_embedded(runtime)
    worst, allowed = 0.0, tolerance(runtime.variant)
    if runtime.input != runtime.variant.input:
        raise BundleError(
            f"{runtime.bundle.file(runtime.variant)}: its input is {quoted(runtime.input)}, "
            f"{bundle.MANIFEST} says {runtime.variant.input!r}"
        )
    if not allowed <= LARGEST:
        raise BundleError(
            f"{target.path / bundle.MANIFEST}: declares that outputs of {runtime.variant.file} may differ "
            f"by {allowed:.2g}; at most {LARGEST:g} is allowed"
        )
    for name, values in expected.items():
        difference = float(abs(sample(target, name, runtime) - values).max())
        if not difference <= allowed:
            raise BundleError(
                f"{target.path / bundle.SAMPLES / name}: outputs of {runtime.variant.file} differ by "
                f"{difference:.1e} from {bundle.EXPECTED}, more than {allowed:.1e}"
            )
        worst = max(worst, difference)
    return len(expected), worst


def sample(target: bundle.Bundle, name: str, runtime: Runtime) -> Samples:
    """Return a model's outputs for a sample of a bundle.

    Raises BundleError if the sample cannot be read or labelled, or is too long.
    """
    path = regular(target.path, f"{bundle.SAMPLES}/{name}")
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
    """Raise BundleError unless the manifest in the model file matches bundle.json."""
    file = runtime.bundle.file(runtime.variant)
    if runtime.embedded is None:
        raise BundleError(f"{file}: no {bundle.METADATA_KEY!r} in its metadata")
    texts = runtime.embedded, runtime.bundle.manifest.embedded(runtime.variant)
    inside, outside = (bundle.Manifest.parse(text, str(file), embedded=True).to_dict() for text in texts)
    for key in sorted(inside.keys() | outside.keys()):
        if inside.get(key) != outside.get(key):
            raise BundleError(f"{file}: its metadata and {bundle.MANIFEST} differ in {key!r}")
