"""Does a bundle still give on its samples what it gave when it was released?"""

from .. import audio, bundle
from ..errors import BundleError
from ..runtime import Runtime

#: Largest difference of an output that another version of the runtime may make.
TOLERANCE = 1e-3


def self_test(found: bundle.Bundle, variant: str | None = None) -> tuple[int, float]:
    """(samples run, largest difference from expected.csv); BundleError if it is above TOLERANCE or none is there."""
    expected = bundle.expected_outputs(found)
    if not expected:
        raise BundleError(f"{found.path / bundle.SAMPLES / bundle.EXPECTED}: no samples")
    runtime = Runtime(str(found.path), variant)
    worst = 0.0
    for name, values in expected.items():
        outputs = runtime.run(audio.read(found.path / bundle.SAMPLES / name))
        difference = float(abs(outputs - values).max())
        if not difference <= TOLERANCE:
            raise BundleError(
                f"{found.path / bundle.SAMPLES / name}: outputs differ by {difference:.1e} from {bundle.EXPECTED}"
            )
        worst = max(worst, difference)
    return len(expected), worst
