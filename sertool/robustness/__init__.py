"""Check that a model's output stays the same after changes to a recording that should not matter; needs no labels.

The "percentage unchanged predictions" of audEERING's ser-tests (Derington et al., arXiv 2312.06270): the share of
recordings whose output moves by less than .05, or whose class stays the same (their emotion condition, with the same
thresholds), must exceed a threshold. Thresholds, changes and strengths are those of ser-tests; :mod:`.perturbations`
documents details that are not published. Not included: their corpora, the changes of CCC, which need labels, real pairs
of microphones, and the rounding of the share to two digits before the comparison.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sertool import audio
from sertool._types import Floats, Samples
from sertool.errors import UsageError
from sertool.robustness import perturbations
from sertool.tasks import TASKS

#: change(samples, rng) -> new samples.
Change: TypeAlias = Callable[[Samples, np.random.Generator], Samples]
#: predict(samples) -> outputs [k].
Predict: TypeAlias = Callable[[Samples], npt.ArrayLike]

SMALL_CHANGES: dict[str, Change] = {
    "additive tone": perturbations.additive_tone,
    "append zeros": perturbations.append_zeros,
    "clip": perturbations.clip,
    "crop beginning": perturbations.crop_beginning,
    "crop end": perturbations.crop_end,
    "gain": perturbations.gain,
    "high-pass": perturbations.high_pass,
    "low-pass": perturbations.low_pass,
    "prepend zeros": perturbations.prepend_zeros,
    "white noise": perturbations.white_noise,
}


@dataclass(frozen=True)
class Check:
    """Compares the output for ``change(samples, rng)`` with that for ``reference(samples, rng)``, or for the clip."""

    name: str
    group: str
    threshold: float
    change: Change
    reference: Change | None = None


@dataclass(frozen=True)
class Result:
    """The result of one check.

    ``share``: output -> share of clips whose output moved by less than .05, or "emotion" -> share of clips whose most
    probable class is the same; ``shift``: output -> mean of output after minus output before; ``passed``: keys as
    ``share`` -> share > ``threshold``. ``constant``, ``random``: the shares of a constant and of a random predictor on
    the same clips (mean over outputs). ``clips``: number of clips used; the others are silent.
    """

    check: str
    group: str
    threshold: float
    share: dict[str, float]
    shift: dict[str, float]
    constant: float
    random: float
    passed: dict[str, bool]
    clips: int


def checks(clips: Sequence[Samples], noise: Path | None = None, rooms: Path | None = None) -> list[Check]:
    """Return all checks for ``clips`` (float32 [n], none silent), in the order of the table.

    Always included: ten small changes, white noise and (with at least two clips) babble at 20 dB, a low-quality phone,
    spectral tilt up and down, simulated positions and rooms. ``noise``: every subfolder with audio adds a kind of noise
    with its name (environmental, music, ...), audio directly in the folder adds the kind "noise". The level is 20 dB;
    a kind with "cough" or "sneez" in its name has 10 dB and occurs once at a random place. A kind "babble" or "white"
    replaces the generated one. ``rooms``: a folder of impulse responses, each compared with the dry recording, which is
    the stricter test, because none of them is known to be the base. Raises UsageError for a folder without audio and
    for a missing library.
    """
    perturbations.require_codec()
    kinds: dict[str, perturbations.Noise] = {"white": perturbations.white}
    if len(clips) > 1:
        kinds["babble"] = perturbations.Babble(clips)
    once = set()
    for kind, paths in _kinds(noise).items() if noise is not None else ():
        if "cough" in kind.lower() or "sneez" in kind.lower():
            once.add(kind)
        kinds[kind] = perturbations.Recorded(paths, once=kind in once)
    result = [Check(name, "small changes", 0.95, change) for name, change in SMALL_CHANGES.items()]
    for kind, sound in kinds.items():
        snr = 10 if kind in once else 20
        change = partial(perturbations.background, noise=sound, snr=snr)
        result.append(Check(f"{kind} at {snr} dB", "background noise", 0.9, change))
    result.append(Check("low-quality phone", "phone", 0.5, perturbations.low_quality_phone))
    for name, sign in ("tilt up", 1), ("tilt down", -1):
        change = partial(perturbations.tilt, decibels=sign * perturbations.TILT_DB)
        result.append(Check(name, "spectral tilt", 0.8, change))
    for name, (base, others) in (
        ("simulated position", perturbations.positions()),
        ("simulated room", perturbations.rooms()),
    ):
        reference, change = (partial(perturbations.room, responses=responses) for responses in (base, others))
        result.append(Check(name, "room", 0.8, change, reference))
    if rooms is not None:
        measured = partial(perturbations.room, responses=_audio(Path(rooms), "impulse responses"))
        dry = partial(perturbations.room, responses=[np.ones(1)])
        result.append(Check("measured room", "room", 0.8, measured, dry))
    return result


def evaluate(
    predict: Predict,
    clips: Sequence[Samples],
    names: Sequence[str],
    *,
    task: str = "dimensional",
    seed: int = 0,
    noise: Path | None = None,
    rooms: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Run :func:`checks` on a model and return one Result per check.

    ``predict(samples float32 [n], 16 kHz)`` returns [k], the outputs ``names``, in [0, 1]; if ``task`` is "categorical"
    they are the probabilities of classes. ``clips`` are float32 [n], of any lengths, and are not modified;
    ``progress(done, total)`` is called after every clip of every check. Random draws depend only on the seed, the name
    of the check and the index of the clip (for babble also on the other clips). The random predictor is ser-tests'
    random-gaussian: mean .5, deviation 1/6, within [0, 1], drawn anew for every call; all classes are equally often its
    most probable one, as for their random-categorical. Raises UsageError if every clip is silent, and as
    :func:`checks`; AudioError if noise or a room cannot be read.
    """
    # Views: Babble compares clips by identity, and the caller may pass one array twice.
    audible = {i: np.asarray(clip, np.float32).view() for i, clip in enumerate(clips) if np.any(clip)}
    if not audible:
        raise UsageError("robustness: every clip is silent; give recordings of speech")
    todo = checks(list(audible.values()), noise, rooms)
    names = list(names)
    judged, unchanged = TASKS[task].judged(names), TASKS[task].unchanged
    clean = {i: _output(predict, clip, names) for i, clip in audible.items()}
    results: list[Result] = []
    for check in todo:
        stream = [seed, zlib.crc32(check.name.encode())]
        baselines = np.random.default_rng(stream)
        pairs = []  # [clips, (before, after), (model, constant, random), outputs]
        for i, clip in audible.items():
            rng = np.random.default_rng([*stream, i])
            reference = _output(predict, check.reference(clip, rng), names) if check.reference else clean[i]
            changed = _output(predict, check.change(clip, rng), names)
            pairs.append(
                [(output, _constant(len(names)), _random(baselines, len(names))) for output in (reference, changed)]
            )
            if progress:
                progress(len(results) * len(audible) + len(pairs), len(todo) * len(audible))
        before, after = np.moveaxis(np.array(pairs), 1, 0)
        share, constant, random = unchanged(before, after).mean(axis=0)
        result = Result(
            check=check.name,
            group=check.group,
            threshold=check.threshold,
            share=dict(zip(judged, share.tolist(), strict=True)),
            shift=dict(zip(names, (after - before)[:, 0].mean(axis=0).tolist(), strict=True)),
            constant=float(constant.mean()),
            random=float(random.mean()),
            passed=dict(zip(judged, (share > check.threshold).tolist(), strict=True)),
            clips=len(audible),
        )
        results.append(result)
    return results


def summary(results: list[Result]) -> dict[str, dict[str, float]]:
    """Return output, and "all" -> share of the checks that "model", "constant" and "random" pass."""
    by_output = _by_output(results)
    return by_output | {"all": {who: float(np.mean([share[who] for share in by_output.values()])) for who in _WHO}}


_WHO = ("model", "constant", "random")


def _by_output(results: list[Result]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "model": float(np.mean([result.passed[name] for result in results])),
            "constant": float(np.mean([result.constant > result.threshold for result in results])),
            "random": float(np.mean([result.random > result.threshold for result in results])),
        }
        for name in results[0].passed
    }


def _output(predict: Predict, samples: Samples, names: Sequence[str]) -> Floats:
    output = np.asarray(predict(samples), np.float64)
    if output.shape != (len(names),):
        raise UsageError(f"robustness: {len(names)} output names, but a prediction of shape {list(output.shape)}")
    return output


def _constant(count: int) -> Floats:
    return np.full(count, 0.5)


def _random(rng: np.random.Generator, count: int) -> Floats:
    values = rng.normal(0.5, 1 / 6, count)
    while (outside := (values < 0) | (values > 1)).any():
        values[outside] = rng.normal(0.5, 1 / 6, outside.sum())
    return values


def _kinds(folder: Path) -> dict[str, list[Path]]:
    """Return kind of noise -> paths."""
    kinds: dict[str, list[Path]] = {}
    for path in _audio(Path(folder), "noise"):
        parts = path.relative_to(folder).parts
        kinds.setdefault(parts[0] if len(parts) > 1 else "noise", []).append(path)
    return dict(sorted(kinds.items()))


def _audio(folder: Path, what: str) -> list[Path]:
    paths = audio.files(folder)
    if not paths:
        raise UsageError(f"{folder}: no audio files; give a folder with {what}")
    return paths
