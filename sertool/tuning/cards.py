"""Model cards of bundles that were made from other bundles."""

import math
from collections.abc import Sequence

from sertool.bundle import CARD, Bundle, Manifest
from sertool.bundle.card import FILES_BEGIN, FILES_END
from sertool.tasks import TASKS

_OWN = """\
# {name} {version}

{title}. Made from `{source}` by `sertool {command}`; its own card says what that model is, and is not.

Licence of the weights: **{licence}**, that of `{source}`. Your own recordings ask for nothing but your own consent and
that of the people in them.

Outputs: {outputs}, {answers}

## What was done

{done}

## Files

{begin}
{end}

## Limits

It is for recordings like those that it was made from: the same voices, microphones and rooms. Do not use it to judge
people.
"""

_BEGIN, _END = "<!-- calibration -->", "<!-- end of calibration -->"


def own_card(manifest: Manifest, source: Bundle, command: str, done: Sequence[str]) -> str:
    """Return the card of a bundle that `sertool COMMAND` made from ``source``; ``done`` are paragraphs."""
    return _OWN.format(
        name=manifest.name,
        version=manifest.version,
        title=manifest.title,
        source=f"{source.manifest.name} {source.manifest.version}",
        command=command,
        licence=manifest.licence,
        outputs=", ".join(manifest.output_names),
        answers=TASKS[manifest.task].output_text,
        done="\n\n".join(done),
        begin=FILES_BEGIN,
        end=FILES_END,
    )


def calibrated_card(source: Bundle, manifest: Manifest) -> str:
    """Return the card of ``source`` with a section on its calibration."""
    text = (source.path / CARD).read_text(encoding="utf-8")
    before, begin, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2] if begin else ""
    return before.rstrip("\n") + "\n\n" + "\n".join([_BEGIN, *_calibration(manifest), _END]) + (after or "\n")


def _calibration(manifest: Manifest) -> list[str]:
    calibration = manifest.calibrated
    about = calibration.about
    on = f"{about['clips']:,} clips of {about['on']}"
    lines = ["## How sure it is", ""]
    if calibration.temperature is not None:
        lines += [
            "`confidence` is the probability of the winning class after its logits are divided by",
            f"{calibration.temperature:.2f}, fitted on {on}. ECE is the expected calibration error, the mean distance",
            "between confidence and the share that is right; beside it that of the largest probability.",
        ]
    else:
        lines.append(f"`.low` and `.high` contain {calibration.coverage:.0%} of the targets of {on}.")
    if calibration.speech:
        lines += [
            "`typical` below 0.5 means: unlike the speech that it was trained on. That is so for "
            f"{about['false_alarms']:.1%}",
            f"of clips of speech of that split, and of sounds that are no speech and had no part in the fit: "
            f"{_found(about['found'])}.",
        ]
    names = manifest.output_names if calibration.intervals else []
    heads = [*([f"{name} inside" for name in names] or ["ECE", "before", "right"]), "unlike"]
    lines += ["", f"| clips of | clips | {' | '.join(heads)} |", "|---|" + "---|" * (len(heads) + 1)]
    for part, row in about.get("measured", {}).items():
        cells = [row["coverage"][name] for name in names] or [row["ece"], row["ece_before"], row["right"]]
        cells.append(row.get("unlike", math.nan))
        lines.append(f"| {part} | {row['clips']:,} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    return lines


def _found(found: dict[str, float]) -> str:
    return ", ".join(f"{share:.0%} of {kind}" for kind, share in found.items())
