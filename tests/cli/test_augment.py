"""`sertool augment`: what is written where, that a seed decides it, and what it must not harm."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from sertool import audio, plugins
from sertool.errors import AudioError

GAIN = ("--with", "gain:low=-6,high=-6")


@pytest.fixture
def talks(tmp_path, clip):
    folder = tmp_path / "talks"
    for seed, name in enumerate(("a b.wav", "Grüße/ü.wav", "Grüße/c.flac")):
        clip(folder / name, 0.5, seed=seed, format=name.rpartition(".")[2].upper())
    (folder / "broken.wav").write_text("text")
    return folder


@pytest.fixture
def augmentation(monkeypatch):
    """augmentation(name, change): one that an outside plugin might register."""

    def add(name, change):
        known = plugins.load_plugins()
        entry = plugins.Plugin("outside", None, "here")
        thing = plugins.KINDS["register_augmentations"][0](name, "nothing: no options", lambda: change)
        monkeypatch.setitem(known._named["augmentations"], name, [(entry, thing)])

    return add


def written(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_mirrored_and_a_bad_file_survived(talks, tmp_path, command):
    code, out, err = command("augment", talks, tmp_path / "o u", *GAIN)
    assert (code, out) == (1, "")
    assert err.splitlines()[0].startswith("broken.wav: cannot be read as audio")
    assert err.splitlines()[1:] == ["3 augmented, 1 failed"]
    assert set(written(tmp_path / "o u")) == {"a b.wav", "Grüße/ü.wav", "Grüße/c.wav"}
    for name, source in (("a b.wav", "a b.wav"), ("Grüße/c.wav", "Grüße/c.flac")):
        info = soundfile.info(tmp_path / "o u" / name)
        assert (info.samplerate, info.channels, info.format, info.subtype) == (16_000, 1, "WAV", "FLOAT")
        expected = audio.read(talks / source) * 10 ** (-6 / 20)
        np.testing.assert_allclose(audio.read(tmp_path / "o u" / name), expected, atol=1e-6)


def test_a_seed_and_a_name_decide_the_samples_whatever_else_there_is(talks, tmp_path, command):
    chain = ("--with", "rotate", "--with", "speed", "--with", "drop-frequencies", "--seed", "5", "-q")
    assert command("augment", talks, tmp_path / "1", *chain).code == 1
    assert command("augment", talks, tmp_path / "2", *chain).code == 1
    first = written(tmp_path / "1")
    assert first == written(tmp_path / "2")
    (talks / "a b.wav").rename(talks / "z.wav")
    shutil.copy(talks / "z.wav", talks / "0.wav")
    (talks / "broken.wav").unlink()
    code, out, err = command("augment", talks, tmp_path / "3", *chain)
    assert (code, out, err) == (0, "", "")
    third = written(tmp_path / "3")
    assert third["Grüße/ü.wav"] == first["Grüße/ü.wav"]
    assert len({third["0.wav"], third["z.wav"], first["a b.wav"]}) == 3  # of one sound: each name has its own stream
    assert command("augment", talks / "z.wav", tmp_path / "z.wav", *chain).code == 0
    assert (tmp_path / "z.wav").read_bytes() == third["z.wav"]
    assert command("augment", talks / "z.wav", tmp_path / "y.wav", *chain[:-2], "6").code == 0
    assert (tmp_path / "y.wav").read_bytes() != third["z.wav"]


def test_copies_differ_and_the_first_is_the_one_without(talks, tmp_path, command):
    one = ("augment", talks / "a b.wav")
    assert command(*one, tmp_path / "o.wav", "--with", "rotate").code == 0
    code, _, err = command(*one, tmp_path / "o", "--with", "rotate", "--copies", "3")
    assert (code, err) == (0, "1 augmented, 3 variants each, 0 failed\n")
    copies = written(tmp_path / "o")
    assert set(copies) == {"1/a b.wav", "2/a b.wav", "3/a b.wav"}
    assert copies["1/a b.wav"] == (tmp_path / "o.wav").read_bytes()
    assert len(set(copies.values())) == 3


def test_the_chain_keeps_its_order_and_p_its_share(tmp_path, clip, command, augmentation):
    augmentation("one-more", lambda samples, rng: samples + np.float32(1))
    augmentation("twice", lambda samples, rng: samples * 2)
    for k in range(60):
        clip(tmp_path / "in" / f"{k}.wav", 0.01, seed=k)
    chain = ("--with", "one-more:p=0.3", "--with", "twice")
    assert command("augment", tmp_path / "in", tmp_path / "out", *chain, "-q").code == 0
    done = 0
    for k in range(60):
        before, after = (audio.read(tmp_path / where / f"{k}.wav") for where in ("in", "out"))
        raised = after.mean() > 1
        np.testing.assert_allclose(after, (before + raised) * 2, atol=1e-6)
        done += raised
    assert 8 <= done <= 29


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("whisper", "there is no 'whisper' (there are: band, "),
        (
            "gain:loud=3",
            "gain:loud=3: got an unexpected keyword argument 'loud'; gain is a random level: low, high",
        ),
        ("noise", "--with noise: missing 1 required positional argument: 'folder'; noise is "),
        ("gain:low=soft", "--with gain:low=soft: "),
        ("gain:3", "write NAME:key=value,key=value"),
        ("gain:p=2", "p is a probability from 0 to 1"),
        ("gain:p=often", "p is a probability from 0 to 1"),
        ("noise:folder=/no where", "/no where: no audio files"),
        ("shout:pitch=2", "pitch must be [low, high]"),
        ("mixup", "give sounds, speech or ambience"),
    ],
)
def test_a_wrong_option_is_one_line_and_nothing_is_written(wanted, words, talks, tmp_path, command):
    code, out, err = command("augment", talks, tmp_path / "out", "--with", wanted)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not (tmp_path / "out").exists()


def test_mixup_from_the_command_line(talks, tmp_path, command, clip):
    clip(tmp_path / "noise" / "n.wav", 1.0, seed=9)
    mixed = ("--with", f"mixup:sounds={tmp_path / 'noise'},second=0")
    assert command("augment", talks / "a b.wav", tmp_path / "o.wav", *mixed).code == 0
    np.testing.assert_allclose(audio.read(tmp_path / "o.wav"), 0.64 * audio.read(talks / "a b.wav"), atol=1e-6)


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_recording_is_never_overwritten(overwrite, talks, tmp_path, command):
    before = written(talks)
    link = tmp_path / "link"
    link.symlink_to(talks)
    single = talks / "a b.wav"
    for source, target, words in (
        (talks, talks, "is inside"),
        (talks, talks / "Grüße", "is inside"),
        (talks, link, "is inside"),
        (single, single, "is one of the recordings"),
        (single, talks, "is one of the recordings"),
        (single, link / "a b.wav", "is one of the recordings"),
    ):
        code, _, err = command("augment", source, target, *GAIN, *overwrite)
        assert code == 2
        assert words in err
    assert written(talks) == before


def test_what_is_there_is_replaced_only_if_asked(talks, tmp_path, command):
    arguments = ("augment", talks / "a b.wav", tmp_path / "o.wav", *GAIN)
    (tmp_path / "o.wav").write_text("mine")
    code, _, err = command(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert "add --overwrite" in err
    assert (tmp_path / "o.wav").read_text() == "mine"
    assert command(*arguments, "--overwrite").code == 0
    assert len(audio.read(tmp_path / "o.wav")) == 8000


@pytest.mark.parametrize(
    ("source", "target", "more", "words"),
    [
        ("nowhere", "out", (), "no such file or folder"),
        ("talks", "out.wav", (), "OUT must be a folder for a folder of recordings"),
        ("talks/a b.wav", "out.wav", ("--copies", "2"), "OUT must be a folder for --copies"),
        ("talks/a b.wav", "out.mp3", (), "name it .wav or .flac"),
        ("talks/a b.wav", "no/out.wav", (), "there is no folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused(source, target, more, words, talks, tmp_path, command):
    code, _, err = command("augment", tmp_path / source, tmp_path / target, *GAIN, *more)
    assert (code, err.count("\n")) == (2, 1)
    assert words in err
    assert [path.name for path in tmp_path.iterdir()] == ["talks"]


def test_a_folder_without_audio_is_said(tmp_path, command):
    (tmp_path / "in").mkdir()
    code, _, err = command("augment", tmp_path / "in", tmp_path / "out", *GAIN)
    assert (code, err) == (1, f"sertool: no audio files in {tmp_path / 'in'}\n")


def test_files_that_differ_by_their_ending_only_are_all_kept(tmp_path, clip, command):
    for name in ("a.wav", "a.flac", "b.wav"):
        clip(tmp_path / "in" / name, 0.1, format=name.rpartition(".")[2].upper())
    assert command("augment", tmp_path / "in", tmp_path / "out", *GAIN).code == 0
    assert set(written(tmp_path / "out")) == {"a.wav.wav", "a.flac.wav", "b.wav"}


def test_a_single_file_goes_into_a_folder_or_a_flac(talks, tmp_path, command):
    (tmp_path / "out").mkdir()
    assert command("augment", talks / "Grüße" / "c.flac", tmp_path / "out", *GAIN).code == 0
    assert set(written(tmp_path / "out")) == {"c.wav"}
    assert command("augment", talks / "a b.wav", tmp_path / "o.flac", *GAIN).code == 0
    info = soundfile.info(tmp_path / "o.flac")
    assert (info.format, info.subtype, info.samplerate) == ("FLAC", "PCM_24", 16_000)
    np.testing.assert_allclose(audio.read(tmp_path / "o.flac"), audio.read(talks / "a b.wav") / 10**0.3, atol=1e-6)


def test_what_exceeds_full_scale_is_kept_as_wav_and_refused_as_flac(talks, tmp_path, command):
    loud = ("--with", "gain:low=30,high=30")
    assert command("augment", talks / "a b.wav", tmp_path / "o.wav", *loud).code == 0
    np.testing.assert_allclose(audio.read(tmp_path / "o.wav"), audio.read(talks / "a b.wav") * 10**1.5, rtol=1e-5)
    code, _, err = command("augment", talks / "a b.wav", tmp_path / "o.flac", *loud)
    assert code == 1
    assert "a b.wav: FLAC would clip it: the peak is " in err
    assert not (tmp_path / "o.flac").exists()


@pytest.mark.parametrize("fault", ["raises", "nothing", "infinite"])
def test_an_augmentation_that_fails_on_a_file_is_named(fault, talks, tmp_path, command, augmentation):
    def change(samples, rng):
        if len(samples) == 1600:
            return samples  # the trial
        if fault == "raises":
            raise ValueError("no\nvoice")
        return samples[:0] if fault == "nothing" else samples / np.float32(0)

    augmentation("fragile", change)
    with np.errstate(all="ignore"):
        code, _, err = command("augment", talks / "a b.wav", tmp_path / "o.wav", "--with", "fragile")
    assert code == 1
    assert err.splitlines()[0].startswith("a b.wav: --with fragile: ".replace("a b.wav", str(talks / "a b.wav")))
    assert ("no voice" if fault == "raises" else "is not audio") in err
    assert not (tmp_path / "o.wav").exists()


def test_ctrl_c_leaves_no_half_file(tmp_path, clip):
    for k in range(400):
        clip(tmp_path / "in" / f"{k:03}.wav", 0.2, seed=k % 7)
    arguments = [sys.executable, "-m", "sertool", "augment", tmp_path / "in", tmp_path / "out", "--with", "shout"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out").is_dir() or len(os.listdir(tmp_path / "out")) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "sertool: interrupted")
    left = sorted((tmp_path / "out").iterdir())
    assert 3 <= len(left) < 400
    for path in left:
        assert path.suffix == ".wav"
        assert len(audio.read(path)) >= 3200


def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    audio.write(tmp_path / "x.wav", np.ones(5, np.float32))
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        audio.write(tmp_path / "x.wav", np.zeros(9, np.float32))
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]
    assert np.array_equal(audio.read(tmp_path / "x.wav"), np.ones(5))


def test_the_same_samples_make_the_same_file(tmp_path):
    audio.write(tmp_path / "1.wav", np.ones(50, np.float32))
    time.sleep(1.1)  # libsndfile notes the second
    audio.write(tmp_path / "2.wav", np.ones(50, np.float32))
    assert (tmp_path / "1.wav").read_bytes() == (tmp_path / "2.wav").read_bytes()


def test_write_knows_its_endings(tmp_path):
    with pytest.raises(AudioError, match=r"name it \.wav or \.flac"):
        audio.write(tmp_path / "x.mp3", np.zeros(5, np.float32))
