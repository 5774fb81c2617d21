"""Export a registered network with random weights, in a process of its own, so that its cost can be measured."""

import sys
from pathlib import Path

import torch

from sertool.errors import UsageError
from sertool.export import variants
from sertool.export.origin import find_origin
from sertool.measure.process import main, noise


def export(network: str, form: str, path: str) -> None:
    """Write a registered network, NAME:key=value, with random weights."""

    form = variants.parse(form)
    (entry,) = variants.entries([form])
    origin = find_origin(network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*origin.network.parameters(), *origin.network.buffers()]:
            # Biases of 0 and gains of 1 would be optimised away; a trained network has none.
            if tensor.is_floating_point() and tensor.numel() > 1 and (tensor == tensor.flatten()[0]).all():
                tensor += 0.1 * torch.rand(tensor.shape, generator=generator)
    origin.manifest.update(variants=[entry], default=entry["name"])
    job = origin.network, form, Path(path), origin.manifest, entry
    try:
        variants.export(*job, [])
    except UsageError:  # one that must be calibrated; what it costs does not depend on what with
        variants.export(*job, [noise(5)])


if __name__ == "__main__":
    main({"export": export}, *sys.argv[1:])
