"""`sertool distil`: distil a teacher into a student's bundle."""

from pathlib import Path

import click

from sertool.cli import runs


@click.command()
@runs.options
@click.option("--teacher", is_flag=True, help="Write the teacher as a bundle into the run's folder and stop.")
def distil(recipe: str, run: Path | None, overrides: tuple[str, ...], show: bool, teacher: bool) -> int:
    """Distil a teacher into a small student, on audio without labels.

    RECIPE is a TOML file, or the name of one that a plugin ships: wav2small-paper is arXiv 2408.13920 as published
    (its teacher's two checkpoint folders and its audio are yours to bring); wav2small and wav2small-emotion learn from
    folds of the whisper networks, which are trained first (the recipes' heads say how). A recipe names the student,
    the teacher's members, the audio and how it is mixed; teacher and student hear the same. A run whose folder holds a
    checkpoint goes on from it, to the same weights as an unbroken one; Ctrl-C saves one. log.csv and tensorboard/ in
    the run's folder show the losses. At the end the student is exported, measured where there is labelled data, and
    written as a bundle into the run's folder.

    On several GPUs: torchrun --nproc-per-node=4 -m sertool distil RECIPE

    \b
    Examples:
      sertool distil wav2small-paper --show
      sertool distil my.toml --set train.steps=100000 --set train.precision=bf16
      sertool distil my.toml --set model.name=mobilenetv4-small -o runs/small
      sertool distil my.toml --teacher, then sertool evaluate runs/my/my corpora/ --against runs/my/teacher
    """
    return runs.train_and_release(recipe, run, overrides, show, "distil", teacher)
