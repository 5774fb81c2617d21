"""Distillation: the student comes to say what the teacher says, and a run can be cut off anywhere."""

import csv
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from sertool.errors import SertoolError, UsageError
from sertool.plugins import load_plugins
from sertool.training import loop
from sertool.training.distil import Excerpts, distil, of_logits
from sertool.training.recipe import Step, load_recipe, substituted
from sertool.training.sections import DistilRecipe
from sertool.training.teacher import build_teacher, folded

TEXT = """
[model]
name = "wav2small"
[teacher]
options = { members = [{ model = "resnet", width = 8, n_fft = 400, hop = 200, n_mels = 32 }, { bundle = "wav2small" }] }
[excerpts]
sources = [{ root = "$root", split = "train" }]
[[augment]]
name = "mixup"
sounds = "$root/noise"
[[augment]]
name = "rotate"
p = 0.5
[targets.intensity]
normal = 0.7
[train]
steps = 6
batch = 4
shortest_s = 0.3
longest_s = 0.6
validate_every = 4
save_every = 2
log_every = 1
threads = 1
workers = 0
[bundle]
name = "mini"
"""


@pytest.fixture
def recipe(corpus, tmp_path):
    """recipe(*overrides): a small distillation."""
    path = tmp_path / "mini.toml"
    path.write_text(TEXT)

    def load(*overrides):
        return load_recipe(path, [f"data.root={corpus}", *overrides], kind=DistilRecipe)

    return load


def finish(recipe, run, **how):
    return list(distil(recipe, run, **how))


def last(run):
    return torch.load(run / "last.pt", weights_only=True)


@pytest.mark.slow("trains networks")
def test_the_student_learns_what_the_teacher_says(recipe, tmp_path):
    """Plain gradient descent on the paper's loss, no labels in sight."""
    settings = recipe("train.steps=80", "train.batch=8", "train.optimiser=adamw", "train.lr=0.003")
    settings.excerpts.sources[:] = [{"root": settings.data.root, "split": "train"}]
    settings = replace(settings, data=replace(settings.data, root=""))
    settings.augment.clear()
    settings.teacher.options["members"] = [{"bundle": "wav2small"}]
    losses = [progress.losses["ccc"] for progress in finish(settings, tmp_path / "run")]
    assert losses[0] > 80
    assert losses[-1] < 0.6 * losses[0]  # a running mean over some 50 steps
    assert not (tmp_path / "run" / "best.pt").exists()  # nothing to choose by: the last weights are taken
    _, _, step = loop.best_network(settings, tmp_path / "run")
    assert step == 80


@pytest.mark.slow("trains networks")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_that_is_cut_off_takes_the_identical_next_steps(recipe, tmp_path, precision):
    """With dropout and SpecAugment in the student, whose randomness must go on too."""
    student = ["model.name=resnet", "model.options={width=8, n_fft=400, hop=200, n_mels=32}"]
    settings = recipe(*student, f"train.precision={precision}", "train.ema=0.9", "train.momentum=0.5", "train.lr=0.01")
    finish(settings, tmp_path / "whole")
    asked = iter([False, False, True])  # stopped after step 3
    cut = finish(settings, tmp_path / "cut", stop=lambda: next(asked))
    assert cut[-1].done == last(tmp_path / "cut")["state"]["step"] == 3
    after = [p.done for p in finish(settings, tmp_path / "cut") if p.stage == "training"]
    assert after == [4, 5, 6]
    whole, resumed = last(tmp_path / "whole"), last(tmp_path / "cut")
    for part in ("network", "averaged"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, resumed[part][name]), name
    assert whole["state"]["losses"] == resumed["state"]["losses"]
    assert whole["state"]["val"] == resumed["state"]["val"]


@pytest.mark.slow("trains networks")
def test_the_same_run_twice_is_the_same_and_another_seed_is_not(recipe, tmp_path):
    for name, overrides in {"a": [], "b": ["train.workers=2"], "c": ["train.seed=1"]}.items():
        finish(recipe(*overrides), tmp_path / name)
    a, b, c = (last(tmp_path / name)["network"]["mix.weight"] for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_teacher_and_student_hear_the_same(recipe, tmp_path, monkeypatch):
    heard = {"teacher": [], "student": []}
    settings = recipe()
    model = load_plugins().get("models", "wav2small")
    teacher = build_teacher(settings, model)
    teacher.register_forward_pre_hook(lambda _, inputs: heard["teacher"].append(inputs[0].clone()))
    monkeypatch.setattr("sertool.training.distil.build_teacher", lambda *_: teacher)
    build = loop.build

    def listening(recipe):
        model, network = build(recipe)
        network.register_forward_pre_hook(
            lambda network, inputs: heard["student"].append(inputs[0].clone()) if network.training else None
        )
        return model, network

    monkeypatch.setattr(loop, "build", listening)
    finish(settings, tmp_path / "run")
    assert len(heard["student"]) == len(heard["teacher"]) == 6
    for student, teacher in zip(heard["student"], heard["teacher"], strict=True):
        assert torch.equal(student, teacher)


def test_a_run_may_be_looked_at_differently_and_made_longer_but_not_be_another(recipe, tmp_path):
    finish(recipe(), tmp_path / "run")
    longer = finish(recipe("train.steps=8", "train.log_every=2", "bundle.limits=none"), tmp_path / "run")
    assert longer[-1].done == 8
    for other in (["train.seed=3"], ["loss.options.quadrant=1"], ["augment.mixup.p=0.5"], ["model.name=resnet"]):
        with pytest.raises(UsageError, match="a different recipe"):
            finish(recipe("train.steps=8", *other), tmp_path / "run")


def test_a_loss_that_is_not_a_number_ends_the_run_and_is_not_saved(recipe, tmp_path, monkeypatch):
    teacher = build_teacher(recipe(), load_plugins().get("models", "wav2small"))
    answers = iter([torch.rand(4, 3), torch.rand(4, 3), torch.full((4, 3), float("nan")), torch.rand(4, 3)] * 2)
    teacher.forward = lambda waveform: next(answers)
    monkeypatch.setattr("sertool.training.distil.build_teacher", lambda *_: teacher)
    with pytest.raises(SertoolError, match=r"the loss at step 3 is not a number; lower train\.lr"):
        finish(recipe("train.save_every=100"), tmp_path / "run")
    if (tmp_path / "run" / "last.pt").exists():
        assert last(tmp_path / "run")["state"]["step"] == 2
        assert all(torch.isfinite(t).all() for t in last(tmp_path / "run")["network"].values())


def test_an_error_in_a_worker_is_one_line(recipe, tmp_path, corpus):
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "x.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(UsageError, match=r"^none of 1 recordings can be read; the first is .*x\.wav$"):
        finish(recipe(f"excerpts.sources=['{folder}']", "train.workers=1"), tmp_path / "run")


def test_a_damaged_checkpoint_is_named(recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes(b"PK no checkpoint")
    with pytest.raises(UsageError, match=r"last\.pt: cannot be read"):
        finish(recipe(), tmp_path / "run")


def test_averaging_leaves_what_is_frozen_as_it_was(recipe, tmp_path):
    finish(recipe("train.ema=0.99", "train.steps=12"), tmp_path / "run")
    averaged = last(tmp_path / "run")["averaged"]
    _, network = loop.fresh(recipe())
    for name in ("logmel.real", "logmel.imaginary", "logmel.mel"):
        assert torch.equal(averaged[f"module.{name}"], network.state_dict()[name])
    assert not torch.equal(averaged["module.mix.weight"], last(tmp_path / "run")["network"]["mix.weight"])


def test_log_has_the_losses_and_no_step_twice_after_a_crash(recipe, tmp_path):
    run = tmp_path / "run"
    settings = recipe()
    asked = iter([False, False, False, False, True])
    finish(settings, run, stop=lambda: next(asked))
    text = (run / "log.csv").read_text()
    saved = last(run)
    saved["state"]["step"] = 4  # as if the machine had died between the checkpoint of step 4 and the log of step 5
    torch.save(saved, run / "last.pt")
    finish(settings, run)
    with open(run / "log.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert text.startswith("step,seconds,loss,ccc,quadrant,lr")
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [bool(row["val arousal"]) for row in rows] == [False, False, False, True, False, True]
    for row in rows:
        assert float(row["loss"]) == pytest.approx(float(row["ccc"]) + float(row["quadrant"]), rel=1e-4)
        assert float(row["lr"]) == 5e-5
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    assert {"loss", "ccc", "quadrant", "lr", "val/arousal"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4, 5, 6]


def test_excerpts_are_of_one_random_length_and_each_process_has_its_own(recipe):
    class Whole:
        def stretch(self, samples, rng, before):
            return rng.standard_normal(samples).astype(np.float32) * 3, "it"

    settings = recipe().train
    first, again, other = (Excerpts(Whole(), [], settings, rank)[3][0] for rank in (0, 0, 1))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)
    lengths = {Excerpts(Whole(), [], settings)[step][0].shape for step in range(20)}
    assert all(batch == 4 and 4_800 <= samples <= 9_600 for batch, samples in lengths)
    assert len(lengths) > 10
    assert first.abs().max() > 1  # nothing is cut off: the student sees what was mixed


def test_a_run_may_start_from_anothers_best_weights(recipe, tmp_path):
    first = recipe("train.lr=0.01")
    finish(first, tmp_path / "first")
    best = torch.load(tmp_path / "first" / "best.pt", weights_only=True)["network"]
    _, network = loop.build(recipe(f"model.start={tmp_path / 'first'}"))
    assert all(torch.equal(tensor, best[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(UsageError, match=r"nowhere.best\.pt: no such file"):
        loop.build(recipe("model.start=nowhere"))
    with pytest.raises(
        UsageError, match=r"model\.start: .* missing weights, the first: .*; the weights are not from this resnet"
    ):
        loop.build(recipe(f"model.start={tmp_path / 'first'}", "model.name=resnet"))


def test_a_teacher_with_its_batch_norms_folded_says_the_same(recipe):
    torch.manual_seed(0)
    network = load_plugins().get("models", "resnet").build(width=8, n_fft=400, hop=200, n_mels=32)
    network(torch.randn(8, 8_000))  # batch norms that do something
    network.eval()
    samples = torch.randn(2, 8_000)
    with torch.inference_mode():
        before = network(samples)
        after = folded(network)(samples)
    assert torch.allclose(before, after, atol=1e-5)
    assert [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)] == [network.scale]


def test_what_only_the_student_hears_is_kept_from_the_teacher(recipe):
    """Everything else changes both in the same way."""

    class Whole:
        def stretch(self, samples, rng, before):
            return rng.standard_normal(samples).astype(np.float32), "it"

    def shift(samples, rng):
        return np.roll(samples, rng.integers(1, 1000))

    def drown(samples, rng):
        return samples + 100

    settings = recipe().train
    chain = [Step(1.0, shift), Step(1.0, drown, student_only=True), Step(0.5, shift)]
    for step in range(5):
        student, teacher = Excerpts(Whole(), chain, settings)[step]
        assert torch.allclose(student - 100, teacher, atol=1e-4)
        same, nothing = Excerpts(Whole(), [chain[0], Step(1.0, drown), chain[2]], settings)[step]
        assert torch.equal(student, same)
        assert not len(nothing)


def test_plain_sgd_is_the_papers(recipe, tmp_path):
    """One step by hand: weights move by -lr times the gradient of 100 (1 - CCC) + 4 quadrant, nothing else."""
    settings = recipe("train.steps=1", "train.lr=0.01")
    _, network = loop.build(settings)
    network = network.to(memory_format=torch.channels_last).train()
    before = {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}
    from sertool.corpora.buckets import Bucket
    from sertool.training.recipe import augmentations
    from sertool_losses.numbers import ccc_loss, quadrant_correction

    bucket = Bucket(substituted(settings, settings.excerpts.sources))
    waveforms, _ = Excerpts(bucket, augmentations(settings, load_plugins()), settings.train)[0]
    answers = build_teacher(settings, load_plugins().get("models", "wav2small"))(waveforms)
    outputs = network(waveforms)
    (100 * ccc_loss(outputs, answers) + 4 * quadrant_correction(outputs, answers)).backward()
    gradient = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    finish(settings, tmp_path / "run")
    trained = last(tmp_path / "run")["network"]
    for name, start in before.items():
        moved = (start - trained[name]) / 0.01
        assert torch.allclose(moved, gradient[name], rtol=0.02, atol=1e-4 + 0.02 * float(gradient[name].abs().max())), (
            name
        )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["teacher.name=nobody"], "models: there is no 'nobody'"),
        (["teacher.options={}"], "teacher.options for 'teacher'"),
        (["teacher.options={members = []}"], "members is empty"),
        (["excerpts.sources=['nowhere']"], "no audio files"),
        (["data.val=dev"], "no row is in split 'dev'"),
        (["train.device=cuda:99"], "is not available"),
        (
            ["train.shortest_s=0.01"],
            r"train.shortest_s: 0.01 s is too short, student and teacher need .* \(257 samples\)",
        ),
        (["train.device=gpu"], "is not a device"),
        (["model.options={colour = 1}"], "model.options for 'wav2small'"),
    ],
)
def test_what_is_wrong_is_named(recipe, tmp_path, overrides, message):
    with pytest.raises(UsageError, match=message):
        finish(recipe(*overrides), tmp_path / "run")


def test_an_error_beside_the_student_reaches_the_user(recipe, tmp_path, monkeypatch):
    teacher = build_teacher(recipe(), load_plugins().get("models", "wav2small"))
    teacher.forward = lambda waveform: 1 / 0
    monkeypatch.setattr("sertool.training.distil.build_teacher", lambda *_: teacher)
    with pytest.raises(ZeroDivisionError):
        finish(recipe(), tmp_path / "run")
    assert not [thread for thread in threading.enumerate() if thread.name == "teacher"]


def command(recipe, corpus, run, *arguments, launcher=(sys.executable, "-m", "sertool")):
    path = recipe().folder / "mini.toml"
    (path.parent / "samples").mkdir(exist_ok=True)
    sample = path.parent / "samples" / "x.wav"
    if not sample.exists():
        sample.write_bytes((next(iter(sorted(corpus.glob("*.wav"))))).read_bytes())
    sets = [part for override in (f"data.root={corpus}", *arguments) for part in ("--set", override)]
    return [*launcher, "distil", str(path), "-o", str(run), *sets]


@pytest.mark.slow("trains networks")
def test_ctrl_c_saves_and_the_same_command_goes_on(recipe, corpus, tmp_path):
    steps = ["train.steps=100000", "train.validate_every=100000", "train.save_every=100000"]
    running = subprocess.Popen(command(recipe, corpus, tmp_path / "run", *steps), stderr=subprocess.PIPE, text=True)
    while not (line := running.stderr.readline()).startswith("training "):
        assert line, "ended before the first step"
    assert re.match(r"training \d+/100000 (\d+:\d\d:\d\d left)? *loss [\d.]+ ccc [\d.]+ quadrant [\d.]+", line)
    running.send_signal(signal.SIGINT)
    err = running.stderr.read()
    assert running.wait(timeout=60) == 130
    assert "Traceback" not in err
    step = last(tmp_path / "run")["state"]["step"]
    assert f"interrupted at step {step} of 100000; run the same command again to continue" in err
    assert step >= 1
    other = subprocess.run(command(recipe, corpus, tmp_path / "run", "train.lr=1"), capture_output=True, text=True)
    assert other.returncode == 2
    assert "holds a run of a different recipe" in other.stderr


@pytest.mark.slow("trains networks")
def test_several_processes_share_the_work_under_torchrun(recipe, corpus, tmp_path):
    """Two processes on the CPU: the gradients of both take part, and one of them writes."""
    run = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "sertool"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(recipe, corpus, run, launcher=launcher), capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1
    assert (run / "mini" / "bundle.json").is_file()
    alone = tmp_path / "alone"
    finish(recipe(), alone)
    # Same start, but the gradients of another process's clips took part.
    assert not torch.equal(last(run)["network"]["mix.weight"], last(alone)["network"]["mix.weight"])
    with open(run / "log.csv") as stream:
        assert len(list(csv.DictReader(stream))) == 6


def test_the_teacher_works_while_the_student_does(recipe, tmp_path):
    """By the time that the student has had one slow step, the teacher has been asked for the next batches."""
    from sertool.training.prefetch import DEPTH, prefetch

    asked = []

    def prepare(waveforms, targets):
        asked.append(len(asked))
        return targets

    loader = [(torch.zeros(1, 10), torch.empty(0))] * 10
    batches = prefetch(loader, prepare, recipe().train, torch.device("cpu"))
    next(batches)
    deadline = time.monotonic() + 10
    while len(asked) < DEPTH + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert DEPTH + 1 <= len(asked) <= DEPTH + 2  # ahead, but not without bound
    batches.close()


@pytest.mark.slow("trains networks")
def test_the_teacher_can_be_had_as_a_bundle(recipe, corpus, tmp_path, process):
    """To label with it, and for `sertool evaluate STUDENT CORPUS --against`."""
    member = '{ model = "resnet", width = 8, n_fft = 400, hop = 200, n_mels = 32 }'
    arguments = command(recipe, corpus, tmp_path / "run", f"teacher.options={{members = [{member}, {member}]}}")[3:]
    answer = process(*arguments, "--teacher")
    assert answer.code == 0, answer.err
    assert process("bundle", "check", str(tmp_path / "run" / "teacher")).code == 0
    assert not (tmp_path / "run" / "last.pt").exists()
    answer = process(*command(recipe, corpus, tmp_path / "run")[3:], "--teacher")  # a bundle takes part: no network
    assert answer.code == 2
    assert "cannot be exported" in answer.err


# Classes


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_of_classes_is_kullback_leiblers_but_for_the_teachers_entropy(temperature):
    generator = torch.Generator().manual_seed(0)
    logits, answers = (torch.randn(6, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    loss = of_logits(load_plugins().get("losses", "cross-entropy").build(), temperature)
    found, terms = loss(logits.requires_grad_(), answers)
    assert terms == {}
    wanted = torch.softmax(answers / temperature, dim=1)
    divergence = torch.nn.functional.kl_div(
        torch.log_softmax(logits / temperature, dim=1), wanted, reduction="batchmean"
    )
    entropy = -(wanted * wanted.log()).sum(dim=1).mean()
    assert found.item() == pytest.approx((temperature**2 * (divergence + entropy)).item())
    (gradient,) = torch.autograd.grad(found, logits)
    expected = temperature * (torch.softmax(logits / temperature, dim=1) - wanted) / len(logits)
    torch.testing.assert_close(gradient, expected)
    assert torch.autograd.grad(loss(logits, logits.detach())[0], logits)[0].abs().max() < 1e-12  # at its least


@pytest.mark.slow("trains or exports a network")
def test_a_student_of_classes_is_distilled_and_resumed(recipe, tmp_path):
    members = '{ model = "resnet-emotion", width = 8, n_fft = 400, hop = 200, n_mels = 32 }'
    settings = recipe(
        "model.name=wav2small-emotion", "teacher.name=teacher-emotion", f"teacher.options={{members = [{members}]}}"
    )
    finish(settings, tmp_path / "whole")
    assert "UA" in last(tmp_path / "whole")["state"]["val"]
    asked = iter([False, False, True])
    finish(settings, tmp_path / "cut", stop=lambda: next(asked))
    assert last(tmp_path / "cut")["state"]["step"] == 3
    finish(settings, tmp_path / "cut")
    whole, cut = last(tmp_path / "whole")["network"], last(tmp_path / "cut")["network"]
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_excerpts_are_prepared_and_filled_up_with_themselves(recipe):
    """The loud half of an excerpt stays, and is repeated; silence would be what no recording ends in."""

    class Half:
        def stretch(self, samples, rng, before):
            clip = np.ones(samples, np.float32)
            clip[samples // 2 :] = 0
            return before(clip), "it"

    settings = recipe("train.fill=repeat").train
    student, _, files = Excerpts(Half(), [], settings, before=lambda clip: clip[: len(clip) // 2]).drawn(0)
    assert (student == 1).all()
    assert files == ["it"] * 4
    silent, *_ = Excerpts(Half(), [], recipe().train, before=lambda clip: clip[: len(clip) // 2]).drawn(0)
    assert 0.4 < silent.mean() < 0.6


def test_weight_decay_leaves_biases_and_norms_alone(recipe):
    """Without a gradient AdamW only decays: what has one dimension stays as it was."""
    from sertool.training import loop

    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Conv1d(4, 2, 3))
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    settings = recipe("train.optimiser=adamw", "train.weight_decay=0.1", "train.lr=0.5").train
    optimiser = loop._optimiser([*network.parameters()], settings)
    for value in network.parameters():
        value.grad = torch.zeros_like(value)
    optimiser.step()
    for name, value in network.named_parameters():
        expected = before[name] * (0.95 if value.ndim > 1 else 1)
        assert torch.allclose(value, expected), name
