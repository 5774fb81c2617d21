"""`sertool augment`: recordings in, changed recordings out."""

import errno
import hashlib
import os
import re
from collections import Counter
from pathlib import Path

import click

from sertool.cli.terminal import bar, libraries_silenced, on_terminal, visible

ENDINGS = (".wav", ".flac")


@click.command(
    epilog="""\b
--with NAME                       with its defaults
--with NAME:KEY=VALUE,KEY=VALUE   options; VALUE is TOML or bare text
--with NAME:p=0.04                applied to 4 % of the files, chosen by the seed
\b
`sertool plugins` lists the augmentations; for a wrong option the message lists
the valid ones.
\b
Exit codes: 0 all written, 1 some files failed (they are named), 2 wrong usage,
130 interrupted.
\b
Examples:
  sertool augment call.wav louder.wav --with gain:low=6,high=6
  sertool augment clips/ noisy/ --with room:folder=rir/ --with noise:folder=noise/,low=5
  sertool augment clips/ out/ --with 'shout:pitch=[1.5,1.8]' --copies 3 --seed 7"""
)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--with",
    "wanted",
    metavar="NAME[:KEY=VALUE,...]",
    multiple=True,
    required=True,
    help="An augmentation and its options; may be repeated, applied in this order.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same samples.")
@click.option(
    "--copies",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Variants of each file, in OUT/1, OUT/2 and so on if more than one.",
)
@click.option("--overwrite", is_flag=True, help="Replace files in OUT; never files of IN.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary; failures are still named.")
def augment(source, target, wanted, seed, copies, overwrite, quiet):
    """Apply training augmentations to recordings.

    IN is a file or a folder (searched recursively). OUT is a folder; files keep their relative path and become
    .wav. For a single file OUT may be a .wav or .flac. Output is 16 kHz mono; .wav is 32-bit float, which keeps
    values beyond full scale, and a .flac that would clip is an error. The result for a file depends on the seed and
    on its name below IN, not on other files.
    """
    from sertool import audio
    from sertool.errors import AudioError, UsageError
    from sertool.recordings.scan import scan

    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    chain = _chain(wanted)
    recordings = scan([str(source)])
    if not recordings:
        click.echo(f"sertool: no audio files in {visible(str(source))}", err=True)
        return 1
    targets = _targets(source, target, recordings, copies)
    _check(recordings, targets, overwrite)

    failures, notes = [], []
    shown = on_terminal() and not quiet and len(recordings) > 1
    with libraries_silenced(), bar(len(recordings), "files", "augmenting", shown=shown) as progress:
        for done, (recording, paths) in enumerate(zip(recordings, targets, strict=True), start=1):
            try:
                if recording.error:
                    raise AudioError(recording.error)
                name = visible(recording.name)
                samples = audio.read(recording.path, lambda text, name=name: notes.append(f"{name}: {visible(text)}"))
                for copy, path in enumerate(paths, start=1):
                    changed = _changed(samples, chain, _stream(seed, copy, _name(source, recording)))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    audio.write(path, changed)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                failures.append(f"{visible(recording.name)}: the name of what is to be written is too long")
            except AudioError as error:
                failures.append(f"{visible(recording.name)}: {visible(str(error))}")
            progress.update(done, "augmenting")
    for line in failures + notes:
        click.echo(line, err=True)
    if not quiet:
        variants = f", {copies} variants each" if copies > 1 else ""
        click.echo(f"{len(recordings) - len(failures)} augmented{variants}, {len(failures)} failed", err=True)
    return 1 if failures else 0


def _chain(wanted) -> list:
    """--with to [(as typed, probability, change)], each tried on a moment of noise."""
    import numpy as np

    from sertool.errors import UsageError
    from sertool.options import named_options
    from sertool.plugins import load_plugins

    chain = []
    for text in wanted:
        try:
            name, options = named_options(text)
        except UsageError as error:
            raise UsageError(f"--with {error}") from None
        augmentation = load_plugins().get("augmentations", name)
        p = options.pop("p", 1.0)
        if type(p) not in (int, float) or not 0 <= p <= 1:
            raise UsageError(f"--with {text}: p is a probability from 0 to 1, as p=0.04")
        try:
            change = augmentation.build(**options)
            rng = np.random.default_rng(0)
            change(0.1 * rng.standard_normal(1600, np.float32), rng)
        except UsageError as error:
            raise UsageError(f"--with {text}: {error}") from None
        except Exception as error:  # whatever a plugin raises at an option that is wrong
            reason = " ".join(re.sub(r"^\w+(\.\w+)*\(\) ", "", str(error)).split()) or type(error).__name__
            raise UsageError(f"--with {text}: {reason}; {name} is {augmentation.summary}") from None
        chain.append((text, p, change))
    return chain


def _targets(source: Path, target: Path, recordings, copies: int) -> list[list[Path]]:
    """For each recording the files to write, one a copy."""
    from sertool.errors import UsageError

    many = source.is_dir() or copies > 1
    if many and (target.is_file() or (target.suffix.lower() in ENDINGS and not target.is_dir())):
        raise UsageError(f"{target}: OUT must be a folder for {'--copies' if copies > 1 else 'a folder of recordings'}")
    if not many and not target.is_dir():
        if target.suffix.lower() not in ENDINGS:
            raise UsageError(f"{target}: name it .wav or .flac, or a folder that is there")
        if not target.absolute().parent.is_dir():
            raise UsageError(f"cannot write {target}: there is no folder {target.parent}")
        return [[target]]
    if source.is_dir() and source.resolve() in (target.resolve(), *target.resolve().parents):
        raise UsageError(f"{target} lies in {source}: choose an OUT outside, or it would be searched the next time")
    names = [_name(source, recording) for recording in recordings]
    bare = Counter(name.with_suffix("") for name in names)
    # a.flac beside a.mp3: both keep their endings, or one would be lost.
    wavs = [name.with_suffix(".wav") if bare[name.with_suffix("")] == 1 else Path(f"{name}.wav") for name in names]
    folders = [target] if copies == 1 else [target / str(copy) for copy in range(1, copies + 1)]
    return [[folder / wav for folder in folders] for wav in wavs]


def _name(source: Path, recording) -> Path:
    """Where a recording lies below IN; of IN itself, its file name."""
    return Path(recording.name if source.is_dir() else source.name)


def _check(recordings, targets, overwrite: bool) -> None:
    """UsageError if a file to write is a recording, or is there already."""
    from sertool.errors import UsageError

    originals = {os.path.realpath(recording.path) for recording in recordings}
    for path in (path for paths in targets for path in paths):
        if os.path.realpath(path) in originals:
            raise UsageError(f"{path} is one of the recordings: choose another OUT")
        if os.path.lexists(path) and not overwrite:
            raise UsageError(f"{path} is there already: choose another OUT, or add --overwrite")


def _stream(seed: int, copy: int, name: Path):
    """The generator of one copy of one file, whatever is done before or beside it."""
    import numpy as np

    digest = hashlib.sha256(os.fsencode(name.as_posix())).digest()
    return np.random.default_rng([seed, copy, int.from_bytes(digest[:16])])


def _changed(samples, chain, rng):
    """The samples after the chain. AudioError names the augmentation that failed."""
    import numpy as np

    from sertool.errors import AudioError

    for text, p, change in chain:
        if rng.random() >= p:
            continue
        try:
            samples = np.asarray(change(samples, rng), np.float32)
        except Exception as error:  # a plugin's; the next file may do
            raise AudioError(f"--with {text}: {' '.join(str(error).split()) or type(error).__name__}") from None
        if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
            raise AudioError(f"--with {text}: what it returned is no audio (empty, or not finite)")
    return samples
