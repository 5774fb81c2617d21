"""Buckets: whatever is in a folder or a corpus, in excerpts of any length."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from sertool import audio
from sertool.corpora import buckets
from sertool.corpora.buckets import Bucket, fit, origins
from sertool.errors import UsageError


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setattr(buckets, "_cache", {})


@pytest.fixture
def folder(tmp_path):
    """Two recordings that tell where they were cut: a ramp of 2 s upwards, one of 1 s downwards."""
    (tmp_path / "sub").mkdir()
    up, down = np.linspace(0.1, 0.9, 32_000), np.linspace(-0.1, -0.5, 16_000)
    soundfile.write(tmp_path / "up.wav", up, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "sub" / "down ü.flac", down, 16_000, subtype="PCM_24")
    (tmp_path / "notes.txt").write_text("no audio")
    (tmp_path / "._up.wav").write_bytes(b"what macOS leaves beside a file")
    return tmp_path


def test_excerpts_are_stretches_of_all_the_recordings(folder):
    bucket, rng = Bucket(str(folder)), np.random.default_rng(0)
    starts = {1: [], -1: []}
    for _ in range(200):
        excerpt = bucket.excerpt(4_000, rng)
        assert excerpt.dtype == np.float32
        steps = np.diff(excerpt.astype(np.float64))
        assert np.allclose(steps, steps[0], atol=1e-6)  # a stretch, nothing cut or padded
        starts[int(np.sign(steps[0]))].append(abs(excerpt[0]))
    assert min(len(found) for found in starts.values()) > 60
    assert min(starts[1]) < 0.15  # from the beginning
    assert max(starts[1]) > 0.75  # to the end
    assert Bucket([str(folder / "sub"), str(folder)]).paths[0].name == "down ü.flac"


def test_the_same_generator_draws_the_same_whatever_came_before(folder):
    fresh, used = Bucket(str(folder)), Bucket(str(folder))
    for seed in range(5):
        used.excerpt(30_000, np.random.default_rng(seed))
    for seed in range(20, 30):
        first, second = (b.excerpt(3_000, np.random.default_rng(seed)) for b in (fresh, used))
        assert np.array_equal(first, second)


def test_of_a_long_recording_only_the_excerpt_is_read(folder, monkeypatch):
    whole = audio.read(folder / "up.wav")
    monkeypatch.setattr(buckets, "LONGEST_KEPT_S", 0.5)
    monkeypatch.setattr(audio, "read", lambda path: pytest.fail("read whole"))
    bucket = Bucket(str(folder))
    for seed in range(20):
        excerpt = bucket.excerpt(8_000, np.random.default_rng(seed))
        assert len(excerpt) == 8_000
        if excerpt[0] > 0:
            start = np.argmin(np.abs(whole - excerpt[0]))
            assert np.allclose(excerpt, whole[start : start + 8_000], atol=1e-6)


def test_preparation_hears_the_whole_recording_and_what_is_drawn_from_is_its_result(folder):
    """Silence around a clip is cut before a stretch is drawn: a stretch is not half of it."""
    heard = []

    def first_half(clip):
        heard.append(len(clip))
        return clip[: len(clip) // 2]

    bucket, whole = Bucket(str(folder / "sub")), audio.read(folder / "sub" / "down ü.flac")
    drawn = [bucket.stretch(4_000, np.random.default_rng(seed), first_half)[0] for seed in range(40)]
    assert {*heard} == {len(whole)}
    assert {len(clip) for clip in drawn} == {4_000}
    assert max(np.abs(clip).max() for clip in drawn) <= 0.301  # the ramp's second half goes on to 0.5
    everything, _ = bucket.stretch(len(whole), np.random.default_rng(0), first_half)
    assert np.array_equal(everything, whole[: len(whole) // 2])


def test_what_is_kept_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(buckets, "KEPT_BYTES", 130_000)
    bucket = Bucket(str(folder))
    for seed in range(10):
        bucket.excerpt(1_000, np.random.default_rng(seed))
        assert sum(samples.nbytes for samples in buckets._cache.values()) <= 130_000


def test_a_broken_recording_is_named_once_and_another_is_drawn_the_same_way(folder, capsys):
    (folder / "broken.wav").write_bytes(b"RIFF no audio")
    bucket = Bucket(str(folder))
    first = [bucket.excerpt(2_000, np.random.default_rng(seed)) for seed in range(20)]
    assert capsys.readouterr().err.count("broken.wav") == 1
    again = [Bucket(str(folder)).excerpt(2_000, np.random.default_rng(seed)) for seed in range(20)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    (folder / "up.wav").unlink()
    (folder / "sub" / "down ü.flac").unlink()
    with pytest.raises(UsageError, match="none of 1 recordings can be read"):
        Bucket(str(folder)).excerpt(100, np.random.default_rng(0))


def test_rows_of_a_corpus_are_chosen_by_split_and_corpus(corpus):
    whole = Bucket({"root": str(corpus)})
    train = Bucket({"root": str(corpus), "split": "train", "corpora": ["corpus0"]})
    assert (len(whole.paths), len(train.paths)) == (32, 16)
    assert all(path.name[0] in "01" for path in train.paths)
    assert origins([{"root": str(corpus)}, "some/folder"]) == {
        ("corpus0", "CC0"),
        ("corpus1", "CC0"),
        ("folder", ""),
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", "nowhere: no audio files"),
        ({"split": "train"}, "a table with root and optionally"),
        ({"root": "x", "spilt": "train"}, "a table with root and optionally"),
        (3, "write a folder"),
    ],
)
def test_a_bucket_of_nothing_is_refused(spec, message):
    with pytest.raises(UsageError, match=message):
        Bucket(spec)


def test_fit_cuts_or_pads_without_losing_a_sample():
    clip = np.arange(1, 101, dtype=np.float32)
    for place, first in ((0.0, 1), (0.5, 31), (0.999, 61)):
        assert fit(clip, 40, place).tolist() == list(range(first, first + 40))
    for place, before in ((0.0, 0), (0.999, 50)):
        padded = fit(clip, 150, place)
        assert padded[before : before + 100].tolist() == clip.tolist()
        assert padded.sum() == clip.sum()


def test_what_is_named_with_times_is_drawn_as_often(tmp_path, folder):
    (tmp_path / "manifest.csv").write_text("file,speaker,corpus\nup.wav,1,a\nsub/down ü.flac,2,b\n")
    once, thrice = ({"root": str(tmp_path), "corpora": [name], "times": n} for name, n in (("a", 1), ("b", 3)))
    rng = np.random.default_rng(0)
    bucket = Bucket([once, thrice])
    drawn = [bucket.stretch(2_000, rng)[1].name for _ in range(400)]
    assert 0.68 < np.mean([name == "down ü.flac" for name in drawn]) < 0.82
    for times in (0, 1.5, "2"):
        with pytest.raises(UsageError, match="times must be a whole number from 1"):
            Bucket({"root": str(tmp_path), "times": times})


def test_threads_draw_the_same_as_one_by_one(folder, monkeypatch):
    monkeypatch.setattr(buckets, "KEPT_BYTES", 100_000)  # one of the two at a time, so that they are always exchanged
    bucket = Bucket(str(folder))

    def draw(seed):
        return bucket.excerpt(3_000, np.random.default_rng(seed))

    one_by_one = [draw(seed) for seed in range(300)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(draw, range(300)))
    assert all(np.array_equal(a, b) for a, b in zip(one_by_one, together, strict=True))
