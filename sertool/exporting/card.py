"""Model cards: card.md with a bundle's values."""

import string
from collections.abc import Iterator
from importlib import resources
from typing import Any

from sertool.bundle import Manifest, file_table
from sertool.evaluation.categorical import confusion_markdown
from sertool.evaluation.run import REPORTS
from sertool.tasks import TASKS
from sertool.training.sections import DistilRecipe, Recipe

#: Targets of a model trained on category labels.
PLACES = "Russell and Mehrabian (1977) coordinates of category labels; not ratings of the clips"

#: Caption of the robustness table.
ROBUSTNESS = (
    "Robustness: share of clips of `{split}` of which {unchanged} (audEERING's ser-tests); what does not\n"
    "exceed its threshold is in bold. Beside it what a constant and a random predictor get."
)

FROM_PLACES = """\
The corpora carry category labels ("angry", "sad"), not ratings of arousal, dominance and valence. Each label
was replaced by the published place of that word in J. A. Russell and A. Mehrabian, "Evidence for a three-factor theory
of emotions", Journal of Research in Personality 11 (1977), scaled from [-1, 1] to [0, 1]. A corpus's intensity moves a
clip along the line from neutral (0.5, 0.5, 0.5) to that place ($strengths; otherwise 1).

So these targets are **not human ratings** of the recordings: all clips of one label share one target, actors'
portrayals stand for feelings, and an output says which acted emotion a voice resembles. The CCC below is against such
targets and does not compare with a CCC against human ratings. Do not use it to judge people."""

FROM_RATINGS = """\
The targets are the corpora's ratings by human listeners, scaled to [0, 1] (clips without them count by the
published place of their label, Russell and Mehrabian 1977). They say how listeners heard a voice, not what was felt. Do
not use it to judge people."""

FROM_LABELS = """\
The probabilities are of the classes that the corpora's labels name ($classes). They say which portrayed emotion a voice
resembles among these, not what is felt, and they always sum to 1: a voice that is none of these gets a class too. Do
not use it to judge people."""

FROM_TEACHER = """\
It was trained on the outputs of a teacher: $teacher.$labels$start What the teacher does not know, it does not know
either."""


FROM_SOMEWHERE = """\
Nothing is known here of what the network has learned, or from whom: it was exported as `$origin`. Without weights of
its own it is random, of use to measure size and speed only."""

TRAINED, UNTRAINED = "`sertool {command}`; the resolved recipe is in bundle.json.", "None by sertool."

BESIDE = """\
The weights of its frozen encoder are in `{names}`, which onnxruntime wants beside the file:
`sertool bundle pack {bundle}` writes both into one zip.

"""

#: Whether a network normalises the level itself -> text on the input level.
LEVELS = {True: "any level (it is normalised inside)", False: "from -1 to 1"}


def card(recipe: Recipe, manifest: Manifest, rated: bool = False, origin: str = "") -> str:
    """Return the model card of a manifest; ``rated``: whether the clips that it is measured on have ratings.

    ``origin``: the registered network, with its options, if it was exported without training.
    """
    strengths = recipe.targets.intensity
    steps = manifest.preprocessing
    variants, data = manifest.variants, manifest.training["data"]
    notes = recipe.folder / recipe.bundle.notes
    others = sorted({name for variant in variants for name in variant.beside})
    beside = BESIDE.format(names="`, `".join(others), bundle=manifest.name) if others else ""
    values = manifest.to_dict() | {
        "output_names": ", ".join(manifest.output_names),
        "numbers": string.Template(FROM_SOMEWHERE if origin else _numbers(recipe, manifest, rated)).substitute(
            origin=origin,
            classes=", ".join(manifest.output_names),
            strengths=", ".join(f"{label} {value:g}" for label, value in strengths.items()) or "none is given",
            **_teacher(recipe),
        ),
        "beside": beside,
        "level": LEVELS[manifest.frontend.get("normalise", True)],
        "answers": TASKS[manifest.task].output_text,
        "prepared": f" Before the model comes: {', '.join(map(_step, steps))}." if steps else "",
        "file": next((v for v in variants if v.input == "waveform"), variants[0]).file,
        "trained": UNTRAINED if origin else TRAINED.format(command=recipe.command),
        "data": "\n".join(f"- {d['corpus']} ({d['licence'] or 'none stated'})" for d in data) or "not named.",
        "metrics": "\n".join(_tables(recipe, manifest)),
        "files": file_table(manifest),
        "limits": recipe.bundle.limits.strip() or "Not stated.",
        "notes": "\n" + notes.read_text(encoding="utf-8") if recipe.bundle.notes else "",
    }
    template = resources.files(__package__).joinpath("card.md").read_text(encoding="utf-8")
    return string.Template(template).substitute(values)


def _numbers(recipe: Recipe, manifest: Manifest, rated: bool) -> str:
    measured = FROM_LABELS if TASKS[manifest.task].has_classes else FROM_RATINGS if rated else FROM_PLACES
    if not isinstance(recipe, DistilRecipe):
        return measured
    if not manifest.metrics:
        return FROM_TEACHER
    about = "What follows is what the figures below are measured against"
    about += ", and where the members trained here had their targets from." if _trained_here(recipe) else "."
    return f"{FROM_TEACHER}\n\n{about}\n\n{measured}"


def _trained_here(recipe: DistilRecipe) -> bool:
    return any("run" in member for member in recipe.teacher.options.get("members", []))


def _teacher(recipe: Recipe) -> dict[str, str]:
    """Return the values for FROM_TEACHER."""
    if not isinstance(recipe, DistilRecipe):
        return {}
    members = recipe.teacher.options.get("members", [])
    names = [
        f"the folds of {member['crossval']}" if "crossval" in member else next(iter(member.values()))
        for member in members
    ]
    who = recipe.teacher.name if not names else names[0] if len(names) == 1 else f"the mean of {', '.join(names)}"
    share = f" Of the target of a labelled clip, {1 - recipe.teacher.share:.0%} is the label."
    start = f" It began with the weights of {recipe.model.start}." if recipe.model.start else ""
    return {"teacher": who, "labels": share * (recipe.teacher.share < 1), "start": start}


def _step(step: dict[str, Any]) -> str:
    options = ", ".join(f"{key} {value:g}" for key, value in step.items() if key != "step")
    return f"{step['step']} ({options})" if options else step["step"]


def _tables(recipe: Recipe, manifest: Manifest) -> Iterator[str]:
    """Yield the lines of Markdown of a manifest's metrics."""
    metrics, names = manifest.metrics, manifest.output_names
    markdown = REPORTS[manifest.task].markdown
    if not metrics:
        yield "Nothing: no labelled data was named."
    for split, report in metrics.items():
        if split == "robustness":
            head = ROBUSTNESS.format(split=recipe.data.val, unchanged=TASKS[manifest.task].kept_text)
            yield from ["", head, "", *robustness_table(report)]
        else:
            both = {"overall": report["overall"], "groups": {"corpus": report["corpus"]}}
            yield from [f"Split `{split}`{WHICH[split == recipe.data.val]}:", "", *markdown(both), ""]
            if TASKS[manifest.task].has_classes:
                yield from [*confusion_markdown(report["overall"]["confusion"], names), ""]
    if metrics:
        yield EXPLAINED[manifest.task]


WHICH = {
    True: ", whose speakers are not in training; the step that was best there was kept",
    False: ", by which nothing was chosen",
}

EXPLAINED = {
    "dimensional": """
CCC: concordance correlation with the targets above. AUC: arousal for angry, happy and fearful against sad, neutral and
calm; valence for happy against angry and sad; 0.5 is chance. In brackets 95 % bootstrap intervals over clips.""",
    "categorical": """
WA: share of clips that are right. UA: mean recall of the classes; an even guess has 1 in their number. In brackets 95 %
bootstrap intervals over clips. In the confusion tables rows are the labels, columns the answers.""",
}


def robustness_table(results: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table of robustness results; failures are in bold."""
    names = list(results[0]["share"])
    lines = [
        f"| check | must exceed | {' | '.join(names)} | constant | random |",
        f"|---|---|{'---|' * len(names)}---|---|",
    ]
    for result in results:
        cells = (f"{result['share'][n]:.2f}" if result["passed"][n] else f"**{result['share'][n]:.2f}**" for n in names)
        fixed = f"{result['constant']:.2f} | {result['random']:.2f}"
        lines.append(f"| {result['check']} | {result['threshold']:g} | {' | '.join(cells)} | {fixed} |")
    return lines
