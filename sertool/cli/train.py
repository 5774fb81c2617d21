"""`sertool train`: train a model on labelled audio."""

from pathlib import Path

import click

from sertool.cli import runs


@click.command()
@runs.options
def train(recipe: str, run: Path | None, overrides: tuple[str, ...], show: bool) -> int:
    """Train a model from a recipe and write it as a bundle.

    RECIPE is a TOML file, or the name of one that a plugin ships (wav2small-labels, resnet). A run whose folder holds
    a checkpoint goes on from it, to the same weights as an unbroken one; Ctrl-C saves one. When training is done, the
    best weights are exported, measured on val and out-of-domain data, and written as a bundle into the run's folder.

    \b
    Example:
      sertool train wav2small-labels --set data.root=corpora/ --set train.steps=3000
    """
    return runs.train_and_release(recipe, run, overrides, show, "train")
