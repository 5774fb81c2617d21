"""`sertool logmel`: show or save the models' input features."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sertool.cli.recordings import check_output
from sertool.cli.terminal import visible

if TYPE_CHECKING:
    from sertool._types import Samples
    from sertool.features.mel import Geometry


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write float32 [frames, n_mels] in dB as .npy.",
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw it (png, pdf, svg; needs matplotlib)."
)
@click.option(
    "--n-fft",
    type=click.Choice(["64", "144"]),
    default="64",
    show_default=True,
    help="64: hop 32, 26 mels; 144: hop 72, 58 mels.",
)
@click.option(
    "--raw",
    is_flag=True,
    help="Keep the level as recorded. Without it, the level is normalised first, as in the models.",
)
def logmel(file: Path, output: Path | None, plot: Path | None, n_fft: str, raw: bool) -> int:
    """Show or save the LogMel of a recording.

    16 kHz, mono; power in dB per mel filter from 0 to 8000 Hz, floor -100 dB.
    """
    import numpy as np

    from sertool import audio, features
    from sertool.errors import AudioError
    from sertool.features.mel import geometry
    from sertool.look.figures import require

    for path in filter(None, (output, plot)):
        check_output(path, [file])
    if plot:
        require(plot)
    try:
        samples = audio.read(file)
        if len(samples) < geometry(int(n_fft)).shortest:
            raise AudioError(f"too short: {len(samples)} samples, the LogMel needs {geometry(int(n_fft)).shortest}")
    except AudioError as error:
        click.echo(f"{visible(str(file))}: {error}", err=True)
        return 1
    frames = features.logmel(samples, int(n_fft), normalise=not raw)
    if output:
        with open(output, "wb") as stream:
            np.save(stream, frames)
    if plot:
        _plot(frames, len(samples) / audio.SAMPLE_RATE, geometry(int(n_fft)), plot, visible(str(file)))
    click.echo(
        f"{visible(str(file))}: {len(samples) / audio.SAMPLE_RATE:.3f} s, "
        f"{frames.shape[0]} frames x {frames.shape[1]} mels, "
        f"{frames.min():.1f} to {frames.max():.1f} dB, mean {frames.mean():.1f} dB"
    )
    return 0


def _plot(frames: "Samples", seconds: float, geometry: "Geometry", path: Path, title: str) -> None:
    from sertool.look.figures import figure, styled

    @styled
    def draw() -> None:
        picture = figure(9, 3.2)
        axes = picture.subplots()
        extent = (0, seconds, 0, geometry.n_mels)
        image = axes.imshow(frames.T, origin="lower", aspect="auto", extent=extent, vmin=-80, cmap="magma")
        axes.set(xlabel="seconds", ylabel="mel filter", title=title)
        picture.colorbar(image, label="dB")
        picture.savefig(path)

    draw()
