"""Implementation of `sertool augment`."""

import errno
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click
import numpy as np

from sertool import audio
from sertool._types import Samples
from sertool.cli.terminal import bar, libraries_silenced, on_terminal, visible
from sertool.errors import AudioError, UsageError
from sertool.options import named_options
from sertool.plugins import load_plugins
from sertool.recordings.recording import Recording
from sertool.recordings.scan import scan

#: A value of --with, its probability and its change.
_Step: TypeAlias = tuple[str, float, Callable[[Samples, np.random.Generator], Any]]

ENDINGS = (".wav", ".flac")


def augment(
    source: Path, target: Path, wanted: tuple[str, ...], seed: int, copies: int, overwrite: bool, quiet: bool
) -> int:
    """Run `sertool augment`; the arguments are its options."""
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    chain = _chain(wanted)
    recordings = scan([str(source)])
    if not recordings:
        click.echo(f"sertool: no audio files in {visible(str(source))}", err=True)
        return 1
    targets = _targets(source, target, recordings, copies)
    _check(recordings, targets, overwrite)

    failures: list[str] = []
    notes: list[str] = []
    shown = on_terminal() and not quiet and len(recordings) > 1
    with libraries_silenced(), bar(len(recordings), "files", "augmenting", shown=shown) as progress:
        for done, (recording, paths) in enumerate(zip(recordings, targets, strict=True), start=1):
            try:
                if recording.error:
                    raise AudioError(recording.error)

                def note(text: str, name: str = visible(recording.name)) -> None:
                    notes.append(f"{name}: {visible(text)}")

                samples = audio.read(recording.path, note)
                for copy, path in enumerate(paths, start=1):
                    changed = _changed(samples, chain, _generator(seed, copy, _name(source, recording)))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    audio.write(path, changed)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                failures.append(f"{visible(recording.name)}: the name of the output file is too long")
            except AudioError as error:
                failures.append(f"{visible(recording.name)}: {visible(str(error))}")
            progress.update(done, "augmenting")
    for line in failures + notes:
        click.echo(line, err=True)
    if not quiet:
        variants = f", {copies} variants each" if copies > 1 else ""
        click.echo(f"{len(recordings) - len(failures)} augmented{variants}, {len(failures)} failed", err=True)
    return 1 if failures else 0


def _chain(wanted: Iterable[str]) -> list[_Step]:
    """Return the steps of --with, each tested on 0.1 s of noise. Raise UsageError if an option is wrong."""
    chain = []
    for text in wanted:
        try:
            name, options = named_options(text)
        except UsageError as error:
            raise UsageError(f"--with {error}") from None
        augmentation = load_plugins().get("augmentations", name)
        p = options.pop("p", 1.0)
        if type(p) not in (int, float) or not 0 <= p <= 1:
            raise UsageError(f"--with {text}: p is a probability from 0 to 1, such as p=0.04")
        try:
            change = augmentation.build(**options)
            rng = np.random.default_rng(0)
            change(0.1 * rng.standard_normal(1600, np.float32), rng)
        except UsageError as error:
            raise UsageError(f"--with {text}: {error}") from None
        except Exception as error:  # plugins may raise anything for a wrong option
            reason = " ".join(re.sub(r"^\w+(\.\w+)*\(\) ", "", str(error)).split()) or type(error).__name__
            raise UsageError(f"--with {text}: {reason}; {name} is {augmentation.summary}") from None
        chain.append((text, p, change))
    return chain


def _targets(source: Path, target: Path, recordings: Sequence[Recording], copies: int) -> list[list[Path]]:
    """Return the files to write for each recording, one per copy. Raise UsageError if OUT is unsuitable."""
    many = source.is_dir() or copies > 1
    if many and (target.is_file() or (target.suffix.lower() in ENDINGS and not target.is_dir())):
        raise UsageError(f"{target}: OUT must be a folder for {'--copies' if copies > 1 else 'a folder of recordings'}")
    if not many and not target.is_dir():
        if target.suffix.lower() not in ENDINGS:
            raise UsageError(f"{target}: name it .wav or .flac, or use an existing folder")
        if not target.absolute().parent.is_dir():
            raise UsageError(f"cannot write {target}: there is no folder {target.parent}")
        return [[target]]
    if source.is_dir() and source.resolve() in (target.resolve(), *target.resolve().parents):
        raise UsageError(f"{target} is inside {source}: choose an OUT outside, or the next run would read it")
    names = [_name(source, recording) for recording in recordings]
    bare = Counter(name.with_suffix("") for name in names)
    # a.flac and a.mp3 keep their extensions, or one would overwrite the other.
    wavs = [name.with_suffix(".wav") if bare[name.with_suffix("")] == 1 else Path(f"{name}.wav") for name in names]
    folders = [target] if copies == 1 else [target / str(copy) for copy in range(1, copies + 1)]
    return [[folder / wav for folder in folders] for wav in wavs]


def _name(source: Path, recording: Recording) -> Path:
    """Return a recording's path relative to IN, or the file name if IN is a file."""
    return Path(recording.name if source.is_dir() else source.name)


def _check(recordings: Iterable[Recording], targets: Iterable[Iterable[Path]], overwrite: bool) -> None:
    """Raise UsageError if a file to write is one of the recordings, or exists and ``overwrite`` is not set."""
    originals = {os.path.realpath(recording.path) for recording in recordings}
    for path in (path for paths in targets for path in paths):
        if os.path.realpath(path) in originals:
            raise UsageError(f"{path} is one of the recordings: choose another OUT")
        if os.path.lexists(path) and not overwrite:
            raise UsageError(f"{path} already exists: choose another OUT, or add --overwrite")


def _generator(seed: int, copy: int, name: Path) -> np.random.Generator:
    """Return the random generator for one copy of one file, which does not depend on other files."""
    digest = hashlib.sha256(os.fsencode(name.as_posix())).digest()
    return np.random.default_rng([seed, copy, int.from_bytes(digest[:16])])


def _changed(samples: Samples, chain: Iterable[_Step], rng: np.random.Generator) -> Samples:
    """Apply the chain. Raise AudioError, with the name of the augmentation, if one fails."""
    for text, p, change in chain:
        if rng.random() >= p:
            continue
        try:
            samples = np.asarray(change(samples, rng), np.float32)
        except Exception as error:  # plugins may raise anything; go on with the next file
            raise AudioError(f"--with {text}: {' '.join(str(error).split()) or type(error).__name__}") from None
        if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
            raise AudioError(f"--with {text}: its result is not audio (empty, or not finite)")
    return samples
