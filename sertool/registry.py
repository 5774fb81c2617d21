"""The classes that plugins register: a name, a one-line summary, and a function that does the heavy work."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from sertool.tasks import RESERVED, TASKS

#: What runs a variant's file: onnxruntime, or sertool's own C engine. The first is the default.
RUNTIMES = ("onnx", "native")


@dataclass(frozen=True)
class Model:
    """A network from 16 kHz waveform to outputs.

    ``build(**options)`` returns a torch module: [batch, samples] float32 -> [batch, len(outputs)]. The outputs are
    numbers if ``task`` is "dimensional", one logit per class if it is "categorical" (its bundle outputs probabilities).
    ``shortest`` is the minimum number of samples, ``longest`` the maximum, if any. If the minimum depends on the
    options, the module has an attribute ``shortest``, and the larger value counts. ``recipes`` are TOML training
    recipes, selected by file name.

    A module may have the parts ``encoder``, frozen, and ``head``, with ``network(x)`` equal to
    ``network.head(network.encoder(x))``: training can then compute the encoder's outputs once and cache them
    (cache.versions in a recipe).

    For `sertool bench`: ``published`` holds a paper's figures, as far as it gives them: {"source": reference,
    "network": NAME:key=value of the network, if it is not the one without options, "figures": {variant: {"parameters",
    "macs", "seconds", "peak_bytes", "added_bytes", "bytes"}}}. ``parts`` are the parts to time separately, in the order
    in which they compute: label -> module that holds the weights; the last one includes everything that follows.
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

    def of(self, network: Any) -> "Model":
        """Return a copy with the minimum number of samples of ``network``, a module that ``build`` returned."""
        return replace(self, shortest=max(self.shortest, getattr(network, "shortest", 0)))


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
    """The input of an exporter.

    ``module`` is a torch module in eval mode, from its ``input`` to [1, k]: from "waveform" [1, samples], 16 kHz, or,
    if the runtime computes LogMel, from "logmel" [1, frames, n_mels] in dB. ``example`` is a tensor of that shape, 5 s;
    axis 1 is dynamic. ``clips`` are real recordings of that shape for calibration; there may be none. With
    ``embedding``, the file has a second output, "embedding" (sertool.nn.embedding).
    """

    module: Any
    example: Any
    input: str = "waveform"
    clips: tuple[Any, ...] = ()
    embedding: bool = False


@dataclass(frozen=True)
class Exporter:
    """A file format.

    ``export(source, path, metadata, **options)`` writes a Source to a file and embeds ``metadata``, a dict of strings.
    The same Source gives the same bytes. ``variant`` is the default name of such a file in a bundle, ``tolerance`` the
    default maximum difference of an output from torch's, ``runtime`` what runs the file, one of RUNTIMES.
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
    read: Callable[[Path], list[Any]]


@dataclass(frozen=True)
class Format:
    """A file format of segments and tables: for labels and speech as output, and for segments as input.

    ``open(target, table, **options)`` returns a sertool.segments.Writer; ``target`` is a text stream, or a path if
    ``binary``. Raise UsageError if a library is missing. ``read(path, **options)`` returns a list of
    sertool.segments.Segment; raise UsageError if the file is not in the format. At least one of the two is given.
    ``extensions`` begin with a dot and are compared without case; the first one is written. A file of a format that is
    ``per_recording`` holds one recording; such formats are text. ``templated``: it has one text per segment, which the
    user's template can set.
    """

    name: str
    summary: str
    extensions: tuple[str, ...]
    open: Callable[..., Any] | None = None
    read: Callable[..., list[Any]] | None = None
    per_recording: bool = False
    binary: bool = False
    templated: bool = False

    def matches(self, path: Path) -> bool:
        """Return whether the path has one of the extensions."""
        return path.name.lower().endswith(tuple(extension.lower() for extension in self.extensions))


@dataclass(frozen=True)
class Segmenter:
    """A method that finds segments in recordings, such as a detector of speech or a diariser.

    ``build(**options)`` returns ``segment(blocks)``: an iterable of float32 [n] at 16 kHz, the whole recording, to an
    iterable of sertool.segments.Segment; a column ``speaker`` makes rows by speaker possible. It is called from several
    threads.
    """

    name: str
    summary: str
    build: Callable[..., Callable[..., Any]]


@dataclass(frozen=True)
class Loss:
    """A training loss.

    ``build(**options)`` returns ``loss(outputs, targets)``: torch tensors [batch, k], float32, to (the loss, a scalar
    tensor that gradients can be computed of, and a dict of its named terms, scalars for the log, which may be empty).
    If ``task`` is "dimensional", both arguments are numbers; if it is "categorical", outputs are logits and targets
    are each class's share, which sum to 1. It keeps no state from one call to the next.

    If what ``build`` returns has a method ``prepare(targets)``, `sertool train` calls it once, before the first step,
    with the targets of all training clips, a numpy array [clips, k]. `sertool distil`, which does not have them,
    refuses such a loss.
    """

    name: str
    summary: str
    task: str
    build: Callable[..., Callable[..., Any]]


@dataclass(frozen=True)
class Decoder:
    """A format of audio files that sertool does not read itself.

    ``extensions``, such as (".dss",), are those of files that count as audio when a folder is searched.
    ``recognises(head, path)`` says from the first 64 bytes of a file (fewer, if it is shorter) whether this decoder
    reads it. ``blocks(path)`` yields (rate in Hz, numpy float32 [n, channels]) in order, a few seconds each; full scale
    is 1. It raises sertool.AudioError, with a reason of one line, if the file is damaged. Both are called from several
    threads.
    """

    name: str
    summary: str
    extensions: tuple[str, ...]
    recognises: Callable[[bytes, Path], bool]
    blocks: Callable[[Path], Iterable[tuple[int, Any]]]


#: Anything that a plugin can register.
Entry: TypeAlias = Model | Augmentation | Exporter | Corpus | Format | Segmenter | Loss | Decoder


def problem(thing: Entry) -> str | None:
    """Return what is wrong with an object that a plugin registers, in one line, or None if it is valid."""
    kind, name = type(thing).__name__, thing.name
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
        return f"{kind}: the name {name!r} must be letters, digits, dots, hyphens and underscores"
    if not isinstance(thing.summary, str):
        return f"{kind} {name!r}: summary must be a string, not {type(thing.summary).__name__}"
    for what in ("build", "export", "read", "open"):
        function = getattr(thing, what, None)
        if function is not None and not callable(function):
            return f"{kind} {name!r}: {what} must be a function, not {type(function).__name__}"
    message = None
    if isinstance(thing, Model):
        message = _problem_of_model(thing)
    elif isinstance(thing, Exporter):
        message = _problem_of_exporter(thing)
    elif isinstance(thing, Format):
        message = _problem_of_format(thing)
    elif isinstance(thing, Loss) and thing.task not in TASKS:
        message = f"task must be {' or '.join(TASKS)}, not {thing.task!r}"
    elif isinstance(thing, Decoder):
        message = _problem_of_decoder(thing)
    return f"{kind} {name!r}: {message}" if message else None


def _problem_of_model(model: Model) -> str | None:
    outputs, recipes = model.outputs, model.recipes
    if not isinstance(outputs, (tuple, list)) or not outputs or not all(isinstance(o, str) and o for o in outputs):
        return f'outputs must be a tuple of names, such as ("valence",), not {outputs!r}'
    if len(set(outputs)) < len(outputs):
        return f"outputs: {', '.join(outputs)}: duplicate name"
    if taken := [output for output in outputs if output in RESERVED]:
        return f"outputs: {taken[0]!r} is a column of the table of labels"
    if model.task not in TASKS:
        return f"task must be {' or '.join(TASKS)}, not {model.task!r}"
    if type(model.shortest) is not int or model.shortest < 1:
        return f"shortest must be a number of samples, at least 1, not {model.shortest!r}"
    if model.longest is not None and (type(model.longest) is not int or model.longest < model.shortest):
        return f"longest must be a number of samples, at least shortest, or None, not {model.longest!r}"
    if not isinstance(recipes, (tuple, list)) or not all(isinstance(recipe, Path) for recipe in recipes):
        return f"recipes must be a tuple of paths, not {recipes!r}"
    for what in ("published", "parts"):
        if not isinstance(getattr(model, what), dict):
            return f"{what} must be a dict, not {type(getattr(model, what)).__name__}"
    return None


def _problem_of_exporter(exporter: Exporter) -> str | None:
    if not isinstance(exporter.variant, str) or not exporter.variant:
        return f"variant must be a name, not {exporter.variant!r}"
    if type(exporter.tolerance) not in (int, float) or not 0 <= exporter.tolerance < math.inf:
        return f"tolerance must be a number, at least 0, not {exporter.tolerance!r}"
    if exporter.runtime not in RUNTIMES:
        return f"runtime must be one of {', '.join(RUNTIMES)}, not {exporter.runtime!r}"
    return None


def _problem_of_format(form: Format) -> str | None:
    extensions = form.extensions
    right = isinstance(extensions, (tuple, list)) and bool(extensions)
    if not right or not all(isinstance(e, str) and re.fullmatch(r"\.[A-Za-z0-9_-]+", e) for e in extensions):
        return f'extensions must be a tuple of extensions, such as (".srt",), not {extensions!r}'
    if form.open is None and form.read is None:
        return "it has neither open nor read"
    if form.per_recording and form.binary:
        return "a format that is per_recording must be text, not binary"
    return None


def _problem_of_decoder(decoder: Decoder) -> str | None:
    for what in ("recognises", "blocks"):
        if not callable(getattr(decoder, what)):
            return f"{what} must be a function, not {type(getattr(decoder, what)).__name__}"
    for extension in decoder.extensions if isinstance(decoder.extensions, tuple) and decoder.extensions else (None,):
        if not isinstance(extension, str) or not re.fullmatch(r"\.[^\s./\\A-Z]+", extension):
            return f'extensions must be a tuple of lower-case endings, such as (".dss",), not {decoder.extensions!r}'
    return None


#: Hook -> (the class it registers, its plural as users see it).
KINDS: dict[str, tuple[type[Entry], str]] = {
    "register_models": (Model, "models"),
    "register_augmentations": (Augmentation, "augmentations"),
    "register_exporters": (Exporter, "exporters"),
    "register_corpora": (Corpus, "corpora"),
    "register_formats": (Format, "formats"),
    "register_segmenters": (Segmenter, "segmenters"),
    "register_losses": (Loss, "losses"),
    "register_decoders": (Decoder, "decoders"),
}
