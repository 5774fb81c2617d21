"""The hooks a plugin may implement. Registered objects must be light: import heavy libraries when they are used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from sertool.registry import Augmentation, Corpus, Decoder, Exporter, Format, Loss, Model, Segmenter

hookspec = pluggy.HookspecMarker("sertool")
hookimpl = pluggy.HookimplMarker("sertool")


@hookspec
def register_models(register: Callable[[Model], None]) -> None:
    """Call ``register(sertool.Model(...))`` for each network that can be built, trained and exported."""


@hookspec
def register_augmentations(register: Callable[[Augmentation], None]) -> None:
    """Call ``register(sertool.Augmentation(...))`` for each random change of audio for training."""


@hookspec
def register_exporters(register: Callable[[Exporter], None]) -> None:
    """Call ``register(sertool.Exporter(...))`` for each file format that a network can be exported to."""


@hookspec
def register_corpora(register: Callable[[Corpus], None]) -> None:
    """Call ``register(sertool.Corpus(...))`` for each folder layout of labelled audio that can be read."""


@hookspec
def register_formats(register: Callable[[Format], None]) -> None:
    """Call ``register(sertool.Format(...))`` for each file format of segments or tables that can be read or written."""


@hookspec
def register_segmenters(register: Callable[[Segmenter], None]) -> None:
    """Call ``register(sertool.Segmenter(...))`` for each method that finds segments in a recording."""


@hookspec
def register_losses(register: Callable[[Loss], None]) -> None:
    """Call ``register(sertool.Loss(...))`` for each training loss that a recipe can choose."""


@hookspec
def register_decoders(register: Callable[[Decoder], None]) -> None:
    """Call ``register(sertool.Decoder(...))`` for each format of audio files that can be read."""


@hookspec
def register_commands(cli: click.Group) -> None:
    """Add click commands to ``cli``, the ``sertool`` command group."""
