"""What plugins register: a name, a line of help, and a function that does the heavy work when called."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Model:
    """A network from 16 kHz waveform to outputs.

    ``build(**options)`` returns a torch module: [batch, samples] float32 -> [batch, len(outputs)]: numbers where the
    ``task`` is "dimensional", one logit a class where it is "categorical" (a bundle of it answers probabilities).
    ``shortest`` is the fewest samples it takes, ``longest`` the most, where there is a limit. ``recipes`` are TOML
    training recipes, found by their file name.

    A module may have the parts ``encoder``, frozen, and ``head``, ``network(x)`` being
    ``network.head(network.encoder(x))``: training can then compute the encoder's outputs once and keep them
    (cache.versions in a recipe).

    For `sertool bench`: ``published`` is what a paper measured, {"source": where it stands, "network": the network it
    means, NAME:key=value, where that is not the one without options, "figures": {variant: {"parameters", "macs",
    "seconds", "peak_bytes", "added_bytes", "bytes"}}}, as far as it says. ``parts`` are those whose time is told apart,
    in the order in which they compute: what is shown -> module whose weights it has; the last one is all that follows.
    """

    name: str
    summary: str
    build: Callable[..., Any]
    outputs: tuple[str, ...]
    shortest: int
    task: str = "dimensional"
    longest: int | None = None
    recipes: tuple[Path, ...] = ()
    published: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Augmentation:
    """A random change of a waveform.

    ``build(**options)`` returns ``change(samples, rng)``: float32 [n] at 16 kHz and a numpy.random.Generator, the
    only source of randomness it may use, to a new float32 [m].
    """

    name: str
    summary: str
    build: Callable[..., Callable[..., Any]]


@dataclass(frozen=True)
class Source:
    """What an exporter is given to write.

    ``module`` is a torch module in eval mode, from its ``input`` to [1, k]: from "waveform" [1, samples], 16 kHz, or
    from "logmel" [1, frames, n_mels] in dB, where what runs the file computes that. ``example`` is a tensor of that
    shape, 5 s; axis 1 has any length. ``clips`` are real recordings of that shape to calibrate with, maybe none.
    """

    module: Any
    example: Any
    input: str = "waveform"
    clips: tuple = ()


@dataclass(frozen=True)
class Exporter:
    """A file format.

    ``export(source, path, metadata, **options)`` writes a Source to a file, with a dict of strings inside, the same
    bytes for the same Source. ``variant`` is what a bundle calls such a file, ``tolerance`` the largest difference of
    an output from torch that still counts as an export, unless the user says another; ``runtime`` what runs the file,
    one of sertool.bundle.RUNTIMES.
    """

    name: str
    summary: str
    export: Callable[..., None]
    variant: str = "fp32"
    tolerance: float = 1e-4
    runtime: str = "onnx"


@dataclass(frozen=True)
class Corpus:
    """A folder layout. ``read(root)`` returns a list of sertool.corpora.Row."""

    name: str
    summary: str
    read: Callable[[Path], list]


#: Hook -> (what it registers, its plural as users see it).
KINDS = {
    "register_models": (Model, "models"),
    "register_augmentations": (Augmentation, "augmentations"),
    "register_exporters": (Exporter, "exporters"),
    "register_corpora": (Corpus, "corpora"),
}
