"""Recipes: defaults, overrides, and faults that are named."""

import pytest

from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool.training.recipe import augmentations, load_recipe

GOOD = '[model]\nname = "wav2small"\n[data]\nroot = "x"\n[bundle]\nname = "b"\n'


def write(tmp_path, text):
    path = tmp_path / "r.toml"
    path.write_text(text)
    return path


def test_overrides_win_and_take_toml_or_bare_text(tmp_path):
    path = write(tmp_path, GOOD)
    overrides = ["train.steps=700", "train.lr=1", "data.root=/a b", 'data.corpora=["p", "q"]', "train.bf16=true"]
    recipe = load_recipe(path, overrides)
    assert (recipe.train.steps, recipe.train.lr, recipe.train.bf16) == (700, 1.0, True)
    assert (recipe.data.root, recipe.data.corpora) == ("/a b", ["p", "q"])
    assert recipe.train.batch == 32
    assert recipe.folder == tmp_path


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (GOOD + "[trian]\nsteps = 1\n", [], r"no section \[trian\]"),
        (GOOD + "[train]\nstep = 1\n", [], r"no key train\.step"),
        (GOOD + '[train]\nsteps = "many"\n', [], r'train\.steps must be int, not "many"'),
        (GOOD, ["train.steps"], "write section.key=value"),
        (GOOD, ["augment.p=1"], "changed in a copy of the recipe"),
        (GOOD.replace('"x"', '""'), [], r"data\.root is empty; give it with --set data\.root="),
        (GOOD, ["train.restarts=[9000]"], "must follow one another"),
        ("[model\n", [], "r.toml"),
    ],
)
def test_faults_are_named(tmp_path, text, overrides, message):
    with pytest.raises(UsageError, match=message):
        load_recipe(write(tmp_path, text), overrides)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        load_recipe(tmp_path / "none.toml")


def test_augmentations_are_built_in_order_with_the_root_filled_in(tmp_path):
    text = GOOD + '[[augment]]\nname = "gain"\np = 0.5\nlow = -3.0\n[[augment]]\nname = "noise"\nfolder = "$root/n"\n'
    recipe = load_recipe(write(tmp_path, text))
    with pytest.raises(UsageError, match=r"x/n: no audio files"):
        augmentations(recipe, load_plugins())
    recipe.augment.pop()
    ((probability, gain),) = augmentations(recipe, load_plugins())
    assert probability == 0.5
    assert gain.low == -3.0
    recipe.augment[0]["lwo"] = 1
    with pytest.raises(UsageError, match=r"augment 'gain'.*lwo"):
        augmentations(recipe, load_plugins())


def test_the_shipped_recipe_loads():
    (path,) = load_plugins().get("models", "wav2small").recipes
    recipe = load_recipe(path, ["data.root=x"])
    assert recipe.bundle.licence == "CC-BY-NC-SA-4.0"
    assert recipe.data.ood not in (recipe.data.train, recipe.data.val)
    assert [table["name"] for table in recipe.augment] == ["speed", "room", "equaliser", "noise", "gain"]
