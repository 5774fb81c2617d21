"""Export a registered network with random weights, in its own process, to measure its cost."""

import sys
from pathlib import Path

import torch

from sertool.errors import UsageError
from sertool.exporting import variants
from sertool.exporting.origin import find_origin
from sertool.measure.process import main, noise


def export(network: str, form: str, path: str) -> None:
    """Export a registered network, NAME:key=value, with random weights to ``path``."""
    parsed = variants.parse(form)
    (entry,) = variants.entries([parsed])
    origin = find_origin(network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*origin.network.parameters(), *origin.network.buffers()]:
            # The optimiser would remove biases of 0 and gains of 1, which a trained network does not have.
            if tensor.is_floating_point() and tensor.numel() > 1 and (tensor == tensor.flatten()[0]).all():
                tensor += 0.1 * torch.rand(tensor.shape, generator=generator)
    origin.manifest.variants, origin.manifest.default = [entry], entry.name
    job = origin.network, parsed, Path(path), origin.manifest, entry
    try:
        variants.export(*job, [])
    except UsageError:  # the format needs calibration; its cost does not depend on the clips
        variants.export(*job, [noise(5)])


if __name__ == "__main__":
    main({"export": export}, *sys.argv[1:])
