"""Model cards say what is true of their kind of model."""

from dataclasses import replace

import pytest

from sertool.bundle import Manifest, Output, Variant
from sertool.exporting.card import card, robustness_table
from sertool.training.recipe import load_recipe
from sertool.training.sections import DistilRecipe, Recipe

MANIFEST = Manifest(
    name="mini",
    version="1",
    title="A miniature",
    student="wav2small",
    task="dimensional",
    outputs=[Output(name) for name in ("arousal", "dominance", "valence")],
    frontend={"name": "waveform"},
    shortest_samples=33,
    licence="CC0-1.0",
    variants=[Variant("fp32", "model.onnx", bytes=1234, difference={"max": 2e-6, "mean": 1e-7, "clips": 9})],
    default="fp32",
    training={"data": [{"corpus": "acted", "licence": ""}]},
)
FIGURES = {"clips": 20, "measures": {"arousal CCC": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 20}}}
METRICS = {"val": {"overall": FIGURES, "corpus": {"acted": FIGURES}}}


@pytest.fixture
def recipe(tmp_path):
    """recipe(kind, text): a recipe of that text."""

    def write(kind, text):
        (tmp_path / "r.toml").write_text('[model]\nname = "wav2small"\n' + text)
        return load_recipe(tmp_path / "r.toml", ["data.root=x"], complete=False, kind=kind)

    return write


def made(recipe, metrics, rated):
    text = card(recipe, replace(MANIFEST, metrics=metrics), rated)
    assert "$" not in text
    return " ".join(text.split())


def test_a_card_of_label_targets_says_that_they_are_no_ratings(recipe):
    text = made(recipe(Recipe, ""), METRICS, rated=False)
    assert "Russell" in text
    assert "not human ratings" in text
    assert "a teacher" not in text
    assert "| corpus acted | 20 | 0.500 [0.400, 0.600] |" in text
    assert "- acted (none stated)" in text


def test_a_card_of_ratings_does_not_speak_of_labels(recipe):
    text = made(recipe(Recipe, ""), METRICS, rated=True)
    assert "ratings by human listeners" in text
    assert "not human ratings" not in text


def test_a_distilled_models_card_names_its_teacher_and_where_it_began(recipe):
    members = 'members = [{ model = "wavlm", weights = "w" }, { bundle = "other" }, { run = "runs/a" }]'
    distilled = recipe(DistilRecipe, f'start = "runs/first"\n[teacher]\noptions = {{ {members} }}\n')
    text = made(distilled, METRICS, rated=False)
    assert "the mean of wavlm, other, runs/a. It began with the weights of runs/first." in text
    assert "measured against, and where the members trained here had their targets from" in text
    silent = made(distilled, {}, rated=False)
    assert "Nothing: no labelled data was named." in silent
    assert "Russell" not in silent


def test_notes_end_the_card_and_robustness_shows_what_fails(recipe, tmp_path):
    (tmp_path / "n.md").write_text("## More\n")
    found = {"check": "gain", "threshold": 0.95, "constant": 1.0, "random": 0.17}
    found |= {"share": {"arousal": 0.97, "valence": 0.9}, "passed": {"arousal": True, "valence": False}}
    assert robustness_table([found])[-1] == "| gain | 0.95 | 0.97 | **0.90** | 1.00 | 0.17 |"
    text = made(recipe(DistilRecipe, '[bundle]\nnotes = "n.md"\n'), METRICS | {"robustness": [found]}, rated=False)
    assert text.endswith("## More")
    assert "| gain | 0.95 | 0.97 | **0.90** | 1.00 | 0.17 |" in text


def test_a_categorical_models_card_speaks_of_classes(recipe):
    names = ("angry", "happy", "neutral", "sad")
    group = {"clips": 4, "measures": {"UA": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 4}}}
    group["confusion"] = [[2, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    manifest = replace(
        MANIFEST,
        task="categorical",
        outputs=[Output(name) for name in names],
        preprocessing=[{"step": "trim", "top_db": 20.0}, {"step": "peak", "level": 0.95}],
        metrics={"val": {"overall": group, "corpus": {}}},
    )
    text = " ".join(card(recipe(Recipe, ""), manifest, rated=True).split())
    assert "Before the model comes: trim (top_db 20), peak (level 0.95)." in text
    assert "portrayed emotion" in text
    assert "Russell" not in text
    assert "ratings" not in text
    assert "| all | 4 | 0.500 [0.400, 0.600] |" in text
    assert "| angry | 2 (0.67) | 1 (0.33) | 0 (0.00) | 0 (0.00) | 3 |" in text
