"""Model cards: card.md with a bundle's values."""

import string
from importlib import resources

from ..evaluation.categorical import confusion_markdown
from ..evaluation.run import REPORTS
from .recipe import DistilRecipe, Recipe

#: Targets of a model trained on category labels.
PLACES = "Russell and Mehrabian (1977) coordinates of category labels; not ratings of the clips"

#: What the table of robustness shows.
ROBUSTNESS = (
    "Robustness: share of clips of `{split}` of which {unchanged} (audEERING's ser-tests); what does not\n"
    "exceed its threshold is in bold. Beside it what a constant and a random predictor get."
)

KEPT = {"dimensional": "an output moves by less than 0.05", "categorical": "the likeliest class stays the same"}

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
In training it was told the outputs of a teacher for audio without labels: $teacher.$start What the teacher
does not know, it does not know either."""


#: Task -> what a user may expect of the outputs.
ANSWERS = {
    "dimensional": "each meant to lie between 0 and 1 with 0.5 neutral. Outputs are not cut off there.",
    "categorical": "one probability each, which sum to 1. `label` gives the likeliest as `emotion` beside them.",
}


def card(recipe: Recipe, manifest: dict, rated: bool) -> str:
    """The model card of a manifest; ``rated``: whether the clips that it is measured on carry ratings."""
    strengths = recipe.targets.intensity
    steps = manifest["preprocessing"]
    variant, notes = manifest["variants"][0], recipe.folder / recipe.bundle.notes
    values = manifest | {
        "output_names": ", ".join(output["name"] for output in manifest["outputs"]),
        "numbers": string.Template(_numbers(recipe, manifest, rated)).substitute(
            classes=", ".join(output["name"] for output in manifest["outputs"]),
            strengths=", ".join(f"{label} {value:g}" for label, value in strengths.items()) or "none is given",
            **_teacher(recipe),
        ),
        "answers": ANSWERS[manifest["task"]],
        "prepared": f" Before the model comes: {', '.join(map(_step, steps))}." if steps else "",
        "command": recipe.command,
        "data": "\n".join(f"- {d['corpus']} ({d['licence'] or 'none stated'})" for d in manifest["training"]["data"]),
        "metrics": "\n".join(_tables(recipe, manifest)),
        "clips": variant["difference"]["clips"],
        "difference": f"{variant['difference']['max']:.1e}",
        "limits": recipe.bundle.limits.strip() or "Not stated.",
        "notes": "\n" + notes.read_text(encoding="utf-8") if recipe.bundle.notes else "",
    }
    template = resources.files(__package__).joinpath("card.md").read_text(encoding="utf-8")
    return string.Template(template).substitute(values)


def _numbers(recipe: Recipe, manifest: dict, rated: bool) -> str:
    measured = FROM_LABELS if manifest["task"] == "categorical" else FROM_RATINGS if rated else FROM_PLACES
    if not isinstance(recipe, DistilRecipe):
        return measured
    if not manifest["metrics"]:
        return FROM_TEACHER
    about = "What follows is what the figures below are measured against"
    about += ", and where the members trained here had their targets from." if _trained_here(recipe) else "."
    return f"{FROM_TEACHER}\n\n{about}\n\n{measured}"


def _trained_here(recipe: DistilRecipe) -> bool:
    return any("run" in member for member in recipe.teacher.options.get("members", []))


def _teacher(recipe: Recipe) -> dict[str, str]:
    """What FROM_TEACHER wants to know."""
    if not isinstance(recipe, DistilRecipe):
        return {}
    members = recipe.teacher.options.get("members", [])
    names = [member.get("model") or member.get("bundle") or member.get("run", "?") for member in members]
    who = f"the mean of {', '.join(names)}" if names else recipe.teacher.name
    begun = f" It began with the weights of {recipe.model.start}." if recipe.model.start else ""
    return {"teacher": who, "start": begun}


def _step(step: dict) -> str:
    options = ", ".join(f"{key} {value:g}" for key, value in step.items() if key != "step")
    return f"{step['step']} ({options})" if options else step["step"]


def _tables(recipe: Recipe, manifest: dict):
    """Markdown of a manifest's metrics."""
    metrics, names = manifest["metrics"], [output["name"] for output in manifest["outputs"]]
    markdown = REPORTS[manifest["task"]].markdown
    if not metrics:
        yield "Nothing: the recipe names no labelled data."
    for split, found in metrics.items():
        if split == "robustness":
            head = ROBUSTNESS.format(split=recipe.data.val, unchanged=KEPT[manifest["task"]])
            yield from ["", head, "", *robustness_table(found)]
        else:
            both = {"overall": found["overall"], "groups": {"corpus": found["corpus"]}}
            yield from [f"Split `{split}`{WHICH[split == recipe.data.val]}:", "", *markdown(both), ""]
            if manifest["task"] == "categorical":
                yield from [*confusion_markdown(found["overall"]["confusion"], names), ""]
    if metrics:
        yield EXPLAINED[manifest["task"]]


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


def robustness_table(results: list[dict]) -> list[str]:
    """Lines of a Markdown table of robustness results; what fails is in bold."""
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
