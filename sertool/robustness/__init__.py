"""Does a model say the same of a recording after a change that should not matter? Checks that need no labels.

The "percentage unchanged predictions" of audEERING's ser-tests (Derington et al., arXiv 2312.06270): the share of
recordings whose output moves by less than .05, or whose class stays the same (their emotion condition, on the same
thresholds), must exceed a threshold. Thresholds, changes and strengths are theirs; :mod:`.perturbations` says where a
detail had to be chosen. Not taken over: their corpora, the changes of CCC that need
labels, real pairs of microphones, and the rounding of the share to two digits before it is compared.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sertool import audio
from sertool.errors import UsageError
from sertool.robustness import perturbations
from sertool.tasks import TASKS

SMALL_CHANGES = {
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
    """One change: the output on ``change(samples, rng)`` against that on ``reference(samples, rng)``, or the clip."""

    name: str
    group: str
    threshold: float
    change: Callable
    reference: Callable | None = None


@dataclass(frozen=True)
class Result:
    """What one check found.

    ``share``: output -> share of clips whose output moved by less than .05, or "emotion" -> share of clips whose most
    probable class is the same; ``shift``: output -> mean of output after minus output before; ``passed``: as ``share``
    -> share > ``threshold``. ``constant``, ``random``: the shares that a predictor of one value, and one of random
    values, got on the same clips (mean over outputs). ``clips``: how many clips were used; the others are silent.
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


def checks(clips, noise: Path | None = None, rooms: Path | None = None) -> list[Check]:
    """All checks for ``clips`` (list of float32 [n], none silent), in the order of the table.

    Always: ten small changes, white noise and (with two clips or more) babble at 20 dB, a low-quality phone, spectral
    tilt up and down, simulated positions and rooms. ``noise``: every sub-folder with audio is one more kind of noise,
    under its name (environmental, music, ...), and audio directly in the folder the kind "noise"; 20 dB, and for a kind
    whose name has "cough" or "sneez" in it 10 dB and once at a random place. A kind "babble" or "white" takes the
    place of the made one. ``rooms``: a folder of impulse responses: each against the dry recording, the more severe
    test, as nothing says which of them would be the base. Raises UsageError for a folder without audio and for a
    missing library.
    """
    perturbations.require_codec()
    kinds = {"white": perturbations.white}
    if len(clips) > 1:
        kinds["babble"] = perturbations.Babble(clips)
    once = set()
    for kind, paths in _kinds(noise).items() if noise is not None else ():
        if "cough" in kind.lower() or "sneez" in kind.lower():
            once.add(kind)
        kinds[kind] = perturbations.Recorded(paths, once=kind in once)
    made = [Check(name, "small changes", 0.95, change) for name, change in SMALL_CHANGES.items()]
    for kind, sound in kinds.items():
        snr = 10 if kind in once else 20
        change = partial(perturbations.background, noise=sound, snr=snr)
        made.append(Check(f"{kind} at {snr} dB", "background noise", 0.9, change))
    made.append(Check("low-quality phone", "phone", 0.5, perturbations.low_quality_phone))
    for name, sign in ("tilt up", 1), ("tilt down", -1):
        change = partial(perturbations.tilt, decibels=sign * perturbations.TILT_DB)
        made.append(Check(name, "spectral tilt", 0.8, change))
    for name, (base, others) in (
        ("simulated position", perturbations.positions()),
        ("simulated room", perturbations.rooms()),
    ):
        base, others = (partial(perturbations.room, responses=responses) for responses in (base, others))
        made.append(Check(name, "room", 0.8, others, base))
    if rooms is not None:
        measured = partial(perturbations.room, responses=_audio(Path(rooms), "impulse responses"))
        dry = partial(perturbations.room, responses=[np.ones(1)])
        made.append(Check("measured room", "room", 0.8, measured, dry))
    return made


def evaluate(
    predict: Callable,
    clips: list[np.ndarray],
    names,
    *,
    task: str = "dimensional",
    seed: int = 0,
    noise: Path | None = None,
    rooms: Path | None = None,
    progress: Callable | None = None,
) -> list[Result]:
    """Run :func:`checks` on a model, one Result a check.

    ``predict(samples float32 [n], 16 kHz)`` -> [k], the outputs ``names``, in [0, 1]; where ``task`` is "categorical"
    they are the classes' probabilities. ``clips`` are float32 [n], of any lengths, and stay as they are;
    ``progress(done, total)`` is called after every clip of every check. The draws depend on the seed, the check's name
    and the clip's place in the list (babble: and on the other clips), and on nothing else. The random predictor is
    ser-tests' random-gaussian: mean .5, deviation 1/6, within [0, 1], anew for every call; its most probable class is
    any of them as often, as that of their random-categorical. Raises UsageError if every clip is silent, and as
    :func:`checks`; AudioError for noise or a room that cannot be read.
    """
    # A view each: Babble tells a clip from the others by identity, and somebody may give one array twice.
    clips = {i: np.asarray(clip, np.float32).view() for i, clip in enumerate(clips) if np.any(clip)}
    if not clips:
        raise UsageError("robustness: no clip with sound in it; give recordings of speech")
    todo = checks(list(clips.values()), noise, rooms)
    judged, unchanged = TASKS[task].judged(names), TASKS[task].unchanged
    clean = {i: _output(predict, clip, names) for i, clip in clips.items()}
    results = []
    for check in todo:
        stream = [seed, zlib.crc32(check.name.encode())]
        baselines = np.random.default_rng(stream)
        pairs = []  # [clips, (before, after), (model, constant, random), outputs]
        for i, clip in clips.items():
            rng = np.random.default_rng([*stream, i])
            before = _output(predict, check.reference(clip, rng), names) if check.reference else clean[i]
            after = _output(predict, check.change(clip, rng), names)
            pairs.append(
                [(output, _constant(len(names)), _random(baselines, len(names))) for output in (before, after)]
            )
            if progress:
                progress(len(results) * len(clips) + len(pairs), len(todo) * len(clips))
        before, after = np.moveaxis(pairs, 1, 0)
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
            clips=len(clips),
        )
        results.append(result)
    return results


def summary(results: list[Result]) -> dict[str, dict[str, float]]:
    """Output, and "all" of them -> share of the checks passed by "model", "constant" and "random"."""
    found = _by_output(results)
    return found | {"all": {who: float(np.mean([own[who] for own in found.values()])) for who in _WHO}}


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


def _output(predict, samples, names):
    output = np.asarray(predict(samples), np.float64)
    if output.shape != (len(names),):
        raise UsageError(f"robustness: {len(names)} output names for a prediction of shape {list(output.shape)}")
    return output


def _constant(count):
    return np.full(count, 0.5)


def _random(rng, count):
    values = rng.normal(0.5, 1 / 6, count)
    while (outside := (values < 0) | (values > 1)).any():
        values[outside] = rng.normal(0.5, 1 / 6, outside.sum())
    return values


def _kinds(folder):
    """Kind of noise -> paths."""
    kinds = {}
    for path in _audio(Path(folder), "noise"):
        parts = path.relative_to(folder).parts
        kinds.setdefault(parts[0] if len(parts) > 1 else "noise", []).append(path)
    return dict(sorted(kinds.items()))


def _audio(folder, what):
    paths = audio.files(folder)
    if not paths:
        raise UsageError(f"{folder}: no audio files; name a folder with {what}")
    return paths
