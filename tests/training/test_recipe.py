"""Recipes: defaults, overrides, and faults that are named."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from sertool.errors import UsageError
from sertool.features.steps import VOICE_NOTE
from sertool.plugins import load_plugins
from sertool.training.recipe import augmentations, deciding, load_recipe, substituted
from sertool.training.recipe import find as shipped
from sertool.training.sections import DistilRecipe, Recipe

GOOD = '[model]\nname = "wav2small"\n[data]\nroot = "x"\n[bundle]\nname = "b"\n'


def write(tmp_path, text):
    path = tmp_path / "r.toml"
    path.write_text(text)
    return path


def test_overrides_win_and_take_toml_or_bare_text(tmp_path):
    path = write(tmp_path, GOOD)
    overrides = ["train.steps=700", "train.lr=1", "data.root=/a b", 'data.corpora=["p", "q"]', "train.precision=bf16"]
    recipe = load_recipe(path, overrides)
    assert (recipe.train.steps, recipe.train.lr, recipe.train.precision) == (700, 1.0, "bf16")
    assert (recipe.data.root, recipe.data.corpora) == ("/a b", ["p", "q"])
    assert recipe.train.batch == 32
    assert load_recipe(path, ["bundle.version=0.20"]).bundle.version == "0.20"
    assert recipe.folder == tmp_path


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (GOOD + "[trian]\nsteps = 1\n", [], r"no section \[trian\]"),
        (GOOD + "[train]\nstep = 1\n", [], r"no key train\.step"),
        (GOOD + '[train]\nsteps = "many"\n', [], r'train\.steps must be int, not "many"'),
        (GOOD, ["train.steps"], "write section.key=value"),
        (GOOD, ["augment.p=1"], r"write augment\.NAME\.option=value \(the recipe has: none\)"),
        (GOOD + '[[augment]]\nname = "gain"\n', ["augment.room.p=1"], "the recipe has: gain"),
        (GOOD, ["train.optimiser=adam"], r"train\.optimiser is 'adam'; write one of adamw, sgd"),
        (GOOD, ["train.schedule=step"], r"train\.schedule is 'step'"),
        (GOOD, ["train.precision=int8"], r"train\.precision is 'int8'"),
        (GOOD, ["train.shortest_s=9"], r"at most longest_s"),
        (GOOD, ["train.batch=0"], r"train\.batch must be at least 1, not 0"),
        (GOOD, ["train.log_every=0"], r"train\.log_every must be at least 1"),
        (GOOD, ["train.seed=-1"], r"train\.seed must be at least 0"),
        (GOOD, ["train.restarts=['x']"], "must be whole numbers in ascending order"),
        (
            GOOD + '[[augment]]\nname = "gain"\n',
            ["augment.gain.p=often"],
            "p is a probability from 0 to 1, not 'often'",
        ),
        (GOOD, ["bundle.name=../x"], "must be a plain name"),
        (GOOD, ["bundle.name=.."], "must be a plain name"),
        ("train = 3\n", [], r"train must be a table: \[train\]"),
        ('augment = "gain"\n', [], r"augment must be \[\[augment\]\] tables"),
        (GOOD + "[excerpts]\n", [], r"has a \[excerpts\] section; run it with `sertool distil`"),
        (GOOD.replace('"x"', '""'), [], r"data\.root is empty; give it with --set data\.root="),
        (GOOD, ["train.restarts=[9000]"], "must be whole numbers in ascending order"),
        ("[model\n", [], "r.toml"),
        (
            GOOD + "[train]\nepochs = 3\n",
            ["train.steps=3000"],
            r"sets train\.epochs, which overrides train\.steps; change that, or",
        ),
        (GOOD, ["train.warmup_ratio=1.5"], r"train\.warmup_ratio must be from 0 to 1, not 1\.5"),
        (GOOD, ["data.hold_out=-0.1"], r"data\.hold_out must be from 0 to 1, not -0\.1"),
        (GOOD, ["teacher.share=2"], r"teacher\.share must be from 0 to 1"),
        (GOOD, ["folds.number=-1"], r"folds\.number must be at least 0, not -1"),
        (GOOD, ["folds.by=clip"], r"folds\.by is 'clip'; write one of session, speaker, corpus"),
        (GOOD, ["train.epochs=-1"], r"train\.epochs must be at least 0"),
        (GOOD, ["train.patience=-1"], r"train\.patience must be at least 0"),
        (GOOD, ["data.also=['CREMA-D']"], r"data\.also: write tables \{corpus = NAME, root = FOLDER\}, not 'CREMA-D'"),
        (GOOD, ["data.also=[{corpus = 'crema-d'}]"], r"data\.also: write tables"),
        (GOOD, ["input.steps=[{step = 'trimm'}]"], "unknown step; .step. is one of trim, pre-emphasis, peak, length"),
        (GOOD, ["input.steps=[{step = 'peak', level = 2}]"], "peak: level must be a number"),
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
    (gain,) = augmentations(recipe, load_plugins())
    assert (gain.p, gain.change.low, gain.student_only) == (0.5, -3.0, False)
    recipe.augment[0]["lwo"] = 1
    with pytest.raises(UsageError, match=r"augment 'gain'.*lwo"):
        augmentations(recipe, load_plugins())


def test_an_override_reaches_one_augmentation(tmp_path):
    text = GOOD + '[[augment]]\nname = "gain"\np = 0.5\n[[augment]]\nname = "speed"\np = 0.5\n'
    recipe = load_recipe(write(tmp_path, text), ["augment.gain.p=0", "augment.gain.low=-1.5"])
    assert recipe.augment == [{"name": "gain", "p": 0, "low": -1.5}, {"name": "speed", "p": 0.5}]


def test_root_and_folder_are_filled_in_wherever_a_text_stands(tmp_path):
    recipe = load_recipe(write(tmp_path, GOOD))
    nested = {"a": ["$root/x", {"b": "$folder/y"}], "c": 3}
    assert substituted(recipe, nested) == {"a": ["x/x", {"b": f"{tmp_path}/y"}], "c": 3}


def test_the_shipped_training_recipe_loads():
    recipe = load_recipe(shipped("wav2small-labels"), ["data.root=x"])
    assert recipe.bundle.licence == "CC-BY-NC-SA-4.0"
    assert recipe.data.ood not in (recipe.data.train, recipe.data.val)
    assert [table["name"] for table in recipe.augment] == ["speed", "room", "equaliser", "noise", "band"]


def test_the_papers_recipe_is_the_default_and_says_so(tmp_path):
    """arXiv 2408.13920: SGD, constant 5e-5, no momentum, no decay, batch 16, 50 M steps, 100 CCC + 4 quadrant."""
    paper = load_recipe(shipped("wav2small-paper"), kind=DistilRecipe)
    train = paper.train
    assert (train.optimiser, train.schedule, train.lr) == ("sgd", "constant", 5e-5)
    assert (train.momentum, train.weight_decay, train.clip_gradient, train.ema) == (0, 0, 0, 0)
    assert (train.batch, train.steps, train.shortest_s, train.longest_s) == (16, 50_000_000, 0.4, 12.0)
    assert (paper.loss.name, paper.loss.options) == ("ccc-quadrant", {"ccc": 100, "quadrant": 4, "neutral": 0.5})
    assert [member["model"] for member in paper.teacher.options["members"]] == ["wavlm", "dawn"]
    shout = next(table for table in paper.augment if table["name"] == "shout")
    assert shout["p"] <= 0.04
    assert next(table for table in paper.augment if table["name"] == "mixup")["p"] == 1
    minimal = load_recipe(write(tmp_path, "[train]\n"), complete=False, kind=DistilRecipe)
    assert minimal.train == replace(train, workers=minimal.train.workers)
    assert minimal.default_loss["dimensional"] == paper.loss.name
    build = load_plugins().get("losses", paper.loss.name).build
    assert vars(build()) == vars(build(**paper.loss.options))


@pytest.mark.parametrize("name", ["wav2small", "wav2small-emotion"])
def test_the_shipped_distillations_load(name):
    recipe = load_recipe(shipped(name), ["data.root=x"], kind=DistilRecipe)
    assert recipe.bundle.name == name
    assert recipe.data.ood not in (recipe.data.train, recipe.data.val)
    assert all(source["split"] == "train" for source in recipe.excerpts.sources)


@pytest.mark.parametrize("name", ["whisper", "whisper-emotion", "whisper-emotion-free"])
def test_the_shipped_encoders_recipes_load_and_keep_the_test_corpora_out(name):
    recipe = load_recipe(shipped(name), ["data.root=x"])
    assert recipe.data.ood == "test-ood"
    assert recipe.data.corpora
    assert not {"tess", "ased", "emotale"} & {*recipe.data.corpora}
    free = {"emodb", "emogator", "librispeech"}
    assert ({*recipe.data.corpora} <= free) == (recipe.bundle.licence == "CC-BY-4.0")


@pytest.mark.parametrize("kind", [Recipe, DistilRecipe])
def test_every_key_is_documented(kind):
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    for section in fields(kind()):
        if is_dataclass(getattr(kind(), section.name)):
            for key in fields(getattr(kind(), section.name)):
                assert f"`{section.name}.{key.name}`" in text
    defaults = kind().train if kind is Recipe else Recipe().train
    assert f"| {defaults.steps}, {defaults.batch} |" in text
    assert f"| {defaults.shortest_s}, {defaults.longest_s} |" in text


def test_a_recipe_that_speaks_of_the_root_needs_one():
    with pytest.raises(UsageError, match=r"data\.root is empty; give it with --set data\.root="):
        load_recipe(shipped("wav2small"), kind=DistilRecipe)


def test_a_bundle_is_called_like_its_model_unless_it_says_otherwise(tmp_path):
    path = write(tmp_path, GOOD.replace('name = "b"', ""))
    assert load_recipe(path).bundle.name == "wav2small"
    assert load_recipe(path, ["model.name=mobilenetv4-small"]).bundle.name == "mobilenetv4-small"


def test_all_that_is_heard_is_named_in_the_bundle():
    recipe = load_recipe(shipped("wav2small"), ["data.root=x"], kind=DistilRecipe)
    named = " ".join(entry["corpus"] for entry in recipe.bundle.data)
    heard = {name for source in recipe.excerpts.sources for name in source["corpora"]}
    for table in recipe.augment:
        for value in table.values():
            if isinstance(value, dict):
                assert all(name in named or name in heard for name in value["corpora"])


def test_epochs_are_of_clips_and_excerpts_have_none(tmp_path):
    with pytest.raises(UsageError, match=r"train\.epochs does not apply to `sertool distil`; set train\.steps"):
        load_recipe(write(tmp_path, "[train]\nepochs = 3\n"), complete=False, kind=DistilRecipe)


def test_where_a_run_lies_and_is_called_does_not_decide_its_weights(tmp_path):
    path = write(tmp_path, GOOD)

    def decides(*overrides):
        return deciding(load_recipe(path, overrides).as_dict()) != deciding(load_recipe(path).as_dict())

    same = [
        "data.root=y",
        "bundle.title=x",
        "train.device=cpu",
        "train.workers=3",
        "train.threads=2",
        "train.save_every=9",
    ]
    assert [override for override in same if decides(override)] == []
    other = [
        "loss.name=ccc",
        "loss.options.gamma=1",
        "folds.number=3",
        "data.hold_out=0.1",
        "input.steps=[{step = 'peak'}]",
        "train.patience=2",
    ]
    other += ["teacher.share=0.5", "train.epochs=2", "data.balance=0.1", "train.seed=1", "train.steps=6000"]
    assert [override for override in other if not decides(override)] == []
    constant = [load_recipe(path, ["train.schedule=constant", f"train.steps={n}"]).as_dict() for n in (5000, 9000)]
    assert deciding(constant[0]) == deciding(constant[1])  # it may be made longer
    here, there, another = (
        deciding(load_recipe(path, [f'data.also=[{{corpus = "{corpus}", root = "{root}"}}]']).as_dict())
        for corpus, root in (("crema-d", "a"), ("crema-d", "b"), ("emodb", "a"))
    )
    assert here == there != another


def test_the_mobile_system_is_as_published():
    """arXiv 2512.23435: focal loss, gamma 2, smoothing 0.1; AdamW 5e-5, 25 epochs, batch 16, cosine, patience 6."""
    recipe = load_recipe(shipped("distilhubert"), ["data.root=x"])
    train = recipe.train
    assert (train.optimiser, train.lr, train.weight_decay) == ("adamw", 5e-5, 0.01)
    assert (train.epochs, train.batch, train.patience) == (25, 16, 6)
    assert (train.schedule, train.warmup_ratio, train.ema) == ("cosine", 0.1, 0)
    assert (recipe.loss.name, recipe.loss.options) == ("focal", {"gamma": 2.0, "smoothing": 0.1, "weights": "balanced"})
    assert (recipe.data.corpus, [source["corpus"] for source in recipe.data.also]) == ("iemocap", ["crema-d"])
    assert (recipe.folds.by, recipe.data.hold_out, recipe.bundle.formats) == ("session", 0.0, ["onnx-int8"])
    assert recipe.input.steps == list(VOICE_NOTE)
    assert [table["name"] for table in recipe.augment] == ["gain", "gaussian-noise", "pitch", "polarity"]
    assert [tuple(table[key] for key in ("low", "high")) for table in recipe.augment[:3]] == [
        (-18, 6),
        (0.001, 0.015),
        (-2, 2),
    ]


def test_an_option_of_a_table_is_set_alone(tmp_path):
    path = write(
        tmp_path, GOOD.replace('name = "wav2small"', 'name = "wav2small"\noptions = { centre = true, outputs = 3 }', 1)
    )
    recipe = load_recipe(
        path, ["model.options.outputs=4", "model.options.config.width=8", "targets.intensity.normal=0.5"]
    )
    assert recipe.model.options == {"centre": True, "outputs": 4, "config": {"width": 8}}
    assert recipe.targets.intensity == {"normal": 0.5}
    with pytest.raises(UsageError, match=r"--set model\.options\.centre\.x=1: centre is not a table"):
        load_recipe(path, ["model.options.centre.x=1"])
    with pytest.raises(UsageError, match=r"no key model\.colour"):
        load_recipe(path, ["model.colour.red=1"])


@pytest.mark.slow("trains networks")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lr = 2026-11-30", "train.lr is a date or a time (2026-11-30)"),
        ("seed = 07:32:00", "train.seed is a date or a time (07:32:00)"),
        ("restarts = [1979-05-27T07:32:00Z]", "train.restarts.1 is a date or a time"),
        ("restarts = " + "[" * 300 + "]" * 300, "nested too deeply"),
        ("restarts = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    ],
)
def test_what_toml_knows_and_no_recipe_has_is_one_line(tmp_path, line, said):
    path = tmp_path / "a.toml"
    path.write_text(f'[model]\nname = "wav2small"\n[train]\n{line}\n')
    with pytest.raises(UsageError) as error:
        load_recipe(path, complete=False)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    key, _, value = line.partition(" = ")
    path.write_text('[model]\nname = "wav2small"\n')
    with pytest.raises(UsageError):
        load_recipe(path, [f"train.{key}={value}"], complete=False)


@pytest.mark.parametrize("key", ["notes", "samples"])
@pytest.mark.parametrize("value", ["../../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_nothing_is_published_that_does_not_lie_beside_the_recipe(tmp_path, key, value):
    path = tmp_path / "a.toml"
    path.write_text(f'[model]\nname = "wav2small"\n[bundle]\n{key} = "{value}"\n')
    with pytest.raises(UsageError, match="must be in the recipe's folder: it is published"):
        load_recipe(path, complete=False)


def test_a_warm_up_that_is_longer_than_the_run_says_what_to_do(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('[model]\nname = "wav2small"\n[train]\nsteps = 4\n')
    with pytest.raises(
        UsageError, match=r"train.warmup \(150\) is more than train.steps \(4\); add --set train.warmup=0"
    ):
        load_recipe(path, complete=False)


def test_a_recipe_begins_with_its_base_and_says_what_differs(tmp_path):
    path = write(tmp_path, 'base = "wav2small-paper"\n[model]\nname = "mobilenetv4-small"\n[train]\nbatch = 8\n')
    found, base = load_recipe(path, kind=DistilRecipe), load_recipe(shipped("wav2small-paper"), kind=DistilRecipe)
    assert (found.model.name, found.train.batch) == ("mobilenetv4-small", 8)
    assert (found.train.steps, found.augment, found.teacher) == (base.train.steps, base.augment, base.teacher)
    (tmp_path / "child.toml").write_text(f'base = "{path.name}"\n[[augment]]\nname = "polarity"\n')
    child = load_recipe(tmp_path / "child.toml", kind=DistilRecipe)
    assert (child.train.batch, child.augment) == (8, [{"name": "polarity"}])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('base = "nobody"', r"no recipe 'nobody': neither a file nor a shipped recipe \(distilhubert,.*"),
        ("base = 3", "base must be the name of a recipe, not 3"),
        ('base = "own.toml"', "own.toml: the recipe is its own base"),
    ],
)
def test_a_base_that_is_none_is_one_line(tmp_path, text, said):
    (tmp_path / "own.toml").write_text(text + '\n[model]\nname = "wav2small"\n')
    with pytest.raises(UsageError, match=said):
        load_recipe(tmp_path / "own.toml", complete=False)


@pytest.mark.parametrize(
    "student", ["mobilenetv4-small", "mobilenetv4-medium", "mobilenetv4-large", "mobilenetv3-small"]
)
def test_every_student_of_the_paper_has_a_recipe_that_names_its_weights(student):
    found = load_recipe(shipped(f"{student}-paper"), kind=DistilRecipe)
    assert (found.model.name, found.bundle.name) == (student, student)
    assert found.model.options["weights"].startswith(f"weights/{student.split('-')[0]}")
    assert (found.train.steps, found.train.lr) == (50_000_000, 5e-5)


def test_the_paper_rotates_and_drops_frequencies_of_all_its_audio():
    found = {entry["name"]: entry["p"] for entry in load_recipe(shipped("wav2small-paper"), kind=DistilRecipe).augment}
    assert found == {"mixup": 1.0, "rotate": 1.0, "drop-frequencies": 1.0, "shout": 0.04}


def test_the_production_model_is_of_shuffled_clips_of_iemocap():
    found = load_recipe(shipped("distilhubert-production"), ["data.root=IEMOCAP"])
    assert (found.data.also, found.data.hold_out, found.data.hold_out_by) == ([], 0.05, "clip")
    assert (found.train.epochs, found.loss.options["gamma"], found.bundle.formats) == (25, 2.0, ["onnx-int8"])
