"""The page that labels in the browser: the numbers of the desktop, and a microphone."""

import base64
import functools
import http.server
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sertool import bundle, web
from sertool.bundle import container
from sertool.features.steps import VOICE_NOTE
from sertool.kernel.wav2small import Engine
from sertool.labelling import Labeller
from sertool.speech import detection
from sertool.testing.clips import sound

RATE = 16_000
SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"
#: Model, variant -> largest difference of a number: none for int8, of which all sums are exact.
VARIANTS = {
    ("wav2small", "native-int8"): 0.0,
    ("wav2small", "native"): 1e-5,
    ("wav2small-emotion", "native-int8"): 0.0,
    ("wav2small-emotion", "native"): 1e-5,
}


def spoken(seconds):
    """Speech from the samples, with pauses between."""
    clips = [
        soundfile.read(SAMPLES / name, dtype="float32")[0] for name in ("plain.wav", "fast-high.wav", "slow-low.wav")
    ]
    parts = [part for clip in clips * 20 for part in (clip, np.zeros(12_000, np.float32))]
    return np.concatenate(parts)[: int(seconds * RATE)]


CLIPS = {
    "half a second": spoken(0.5),
    "one window": spoken(7.3),
    "joined": spoken(8.9),
    "several windows": spoken(31.7),
    "two minutes": spoken(125),
    "a buzz": sound(5 * RATE),
    "faint": 1e-3 * spoken(4),
    "silence": np.zeros(3 * RATE, np.float32),
    "noise": 0.05 * np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32),
    "too short": spoken(0.001),
    "nothing": np.zeros(0, np.float32),
}


def packed(samples):
    return base64.b64encode(np.asarray(samples, "<f4").tobytes()).decode()


UNPACK = "const take = text => new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """pages(model, variant): the folder of the page."""
    made = {}

    def make(model, variant):
        if (model, variant) not in made:
            opened = bundle.read(bundle.bundled_folder() / model)
            folder = tmp_path_factory.mktemp("page")
            weights = (opened.path / opened.variant(variant, None).file).read_bytes()
            for name, data in web.files(weights).items():
                (folder / name).write_bytes(data)
            made[model, variant] = folder
        return made[model, variant]

    return make


@pytest.fixture(scope="module")
def served(pages):
    """The address of a page on a plain web server."""
    handler = functools.partial(Quiet, directory=pages("wav2small", "native-int8"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/index.html"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def desktop(labeller, samples):
    """What Python's API says: a row, or a row with the error."""
    from sertool.errors import AudioError

    try:
        return dict(labeller.label(samples, RATE))
    except AudioError as error:
        return {"error": str(error)}


def same(ours, theirs, tolerance):
    """Assert that two rows are equal; null and a missing column are both nothing."""
    for name in {*ours, *theirs}:
        one, other = ours.get(name), theirs.get(name)
        if isinstance(one, int | float) and isinstance(other, int | float):
            scale = 30 if name in ("confidence", "typical") else 1  # they amplify: odds, logarithms
            assert abs(one - other) <= tolerance * scale + 1e-12, (name, one, other)
        else:
            assert one == other, name


@pytest.mark.parametrize(("model", "variant"), VARIANTS)
def test_labels_are_those_of_the_desktop(pages, visit, model, variant):
    page = visit((pages(model, variant) / "index.html").as_uri())
    labeller, tolerance = Labeller(model, variant), VARIANTS[model, variant]
    engine = Engine((labeller.bundle.path / labeller.runtime.variant.file).read_bytes())
    for name, samples in CLIPS.items():
        theirs = page.evaluate("async text => {" + UNPACK + "return model.label(take(text)); }", packed(samples))
        ours = desktop(labeller, samples)
        if ours.get("error"):
            assert theirs["error"] == ours["error"], name
            continue
        same(ours, theirs, tolerance)
        hops = page.evaluate(
            "async text => {" + UNPACK + "return model.windows(take(text), {window: 3, hop: 0.7}); }", packed(samples)
        )
        own = [dict(row) for row in Labeller(model, variant, window=3, hop=0.7).windows(samples, RATE)]
        assert len(hops) == len(own), name
        for one, other in zip(own, hops, strict=True):
            same(one, other, tolerance)
    assert engine.outputs == len(labeller.outputs)


@pytest.mark.parametrize("name", ["several windows", "two minutes", "on and on"])
def test_windows_of_speech_are_those_of_the_desktop(pages, visit, tmp_path, name):
    """Their times are in the recording; more than a minute of speech without a pause is passed on in parts."""
    samples = CLIPS.get(name, np.tile(spoken(0.9)[3200:], 200)[: 95 * RATE])
    page = visit((pages("wav2small", "native-int8") / "index.html").as_uri())
    soundfile.write(tmp_path / "clip.wav", samples, RATE, subtype="FLOAT")
    own = [dict(row) for row in Labeller("wav2small", "native-int8", hop=3).speech_windows(tmp_path / "clip.wav")]
    rows = page.evaluate(
        "async text => {" + UNPACK + "return model.speechWindows(take(text), {hop: 3}); }", packed(samples)
    )
    assert len(rows) == len(own) > 5
    for one, other in zip(own, rows, strict=True):
        same(one, other, 0.0)


def test_every_step_before_the_network(visit, tmp_path):
    """Steps that no bundle of the C engine has yet: those of the second paper's voice notes."""
    weights = (bundle.bundled_folder() / "wav2small-emotion" / "model.int8.native").read_bytes()
    tensors, text = container.unpacked(weights)
    manifest = json.loads(text) | {"preprocessing": list(VOICE_NOTE)}
    data = container.packed(tensors, json.dumps(manifest))
    (tmp_path / "model.native").write_bytes(data)
    (tmp_path / "index.html").write_bytes(web.files(data)[web.PAGE])
    page = visit((tmp_path / "index.html").as_uri())
    labeller = Labeller(str(tmp_path / "model.native"))
    for name in ("half a second", "one window", "several windows"):
        theirs = page.evaluate("async text => {" + UNPACK + "return model.label(take(text)); }", packed(CLIPS[name]))
        same(desktop(labeller, CLIPS[name]), theirs, 0.0)


def test_speech_is_that_of_the_desktop(pages, visit):
    page = visit((pages("wav2small", "native-int8") / "index.html").as_uri())
    for name, samples in CLIPS.items():
        theirs = page.evaluate("async text => {" + UNPACK + "return model.speech(take(text)); }", packed(samples))
        assert [tuple(pair) for pair in theirs] == detection.detect([samples]).times, name


def test_files_that_are_dropped_and_wav_of_every_kind(pages, visit, tmp_path):
    page = visit((pages("wav2small", "native-int8") / "index.html").as_uri())
    samples, labeller = spoken(6), Labeller("wav2small", "native-int8")
    kinds = {"PCM_16": 0, "PCM_24": 0, "PCM_32": 0, "FLOAT": 0, "DOUBLE": 0, "PCM_U8": 0}
    for kind in kinds:
        soundfile.write(tmp_path / f"{kind}.wav", samples, RATE, subtype=kind)
    soundfile.write(tmp_path / "two channels <b>ü.wav", np.stack([samples, samples], 1), RATE)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    page.set_input_files("#files", sorted(map(str, tmp_path.glob("*.wav"))))
    page.locator("#count", has_text="7 labelled, 1 failed").wait_for()
    rows = {row[0]: row[1] for row in page.evaluate("results.map(result => [result.name, result.row])")}
    for name, row in rows.items():
        if name == "broken.wav":
            assert row["error"] == "the browser cannot read this file as audio"
        else:
            same(dict(labeller.label(tmp_path / name)), row, 0.0)
    with page.expect_download() as download:
        page.click("#save")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert text.splitlines()[0].startswith("file,start,end,arousal")
    assert "two channels <b>ü.wav,0,6," in text


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_are_close(pages, visit, tmp_path, rate):
    """The browser's resampler is ours, the desktop's is soxr: the same sound, not the same bits."""
    import soxr

    page = visit((pages("wav2small", "native-int8") / "index.html").as_uri())
    original = soxr.resample(spoken(6), RATE, rate).astype(np.float32)
    soundfile.write(tmp_path / "clip.wav", original, rate, subtype="FLOAT")
    page.set_input_files("#files", str(tmp_path / "clip.wav"))
    page.locator("#count", has_text="1 labelled").wait_for()
    row = page.evaluate("results[0].row")
    ours = Labeller("wav2small", "native-int8").label(tmp_path / "clip.wav")
    for name in ("arousal", "dominance", "valence"):
        assert row[name] == pytest.approx(ours[name], abs=0.03), name
    theirs = np.array(
        page.evaluate(
            "async text => {" + UNPACK + f"return [...sertool.resampled(take(text), {rate})]; }}", packed(original)
        )
    )
    ours = soxr.resample(original, rate, RATE)
    count = min(len(theirs), len(ours))
    assert abs(len(theirs) - len(ours)) <= 2
    error = theirs[:count] - ours[:count]
    assert 10 * np.log10(np.mean(error**2) / np.mean(ours**2)) < -30


def test_pieces_resample_as_a_whole(pages, visit):
    page = visit((pages("wav2small", "native-int8") / "index.html").as_uri())
    equal = page.evaluate(
        """async text => {"""
        + UNPACK
        + """
        const samples = take(text), pieces = new sertool.Resampler(44100), parts = [];
        for (let at = 0; at < samples.length; at += 441) parts.push(...pieces.push(samples.subarray(at, at + 441)));
        parts.push(...pieces.finish());
        const whole = sertool.resampled(samples, 44100);
        return parts.length === whole.length && whole.every((value, i) => value === parts[i]);
    }""",
        packed(spoken(1.3)),
    )
    assert equal


def test_other_formats_are_up_to_the_browser(pages, visit, tmp_path):
    page = visit((pages("wav2small", "native-int8") / "index.html").as_uri())
    soundfile.write(tmp_path / "clip.flac", spoken(6), RATE)
    soundfile.write(tmp_path / "clip.mp3", spoken(6), RATE)
    soundfile.write(tmp_path / "clip.ogg", spoken(6), RATE, format="OGG", subtype="OPUS")
    page.set_input_files("#files", sorted(map(str, tmp_path.glob("clip.*"))))
    page.locator("#count", has_text="3 labelled").wait_for()
    rows = dict(page.evaluate("results.map(result => [result.name, result.row])"))
    labeller = Labeller("wav2small", "native-int8")
    for name, row in rows.items():
        ours = labeller.label(tmp_path / name)
        for output in ("arousal", "dominance", "valence"):
            assert row[output] == pytest.approx(ours[output], abs=0.06), (name, output)


def test_the_page_says_what_the_numbers_are_and_what_one_may_do(pages, visit):
    page = visit((pages("wav2small", "native-int8") / "index.html").as_uri())
    assert "not for commercial use" in page.inner_text("#model")
    meaning = page.inner_text("#meaning")
    assert "valence: how pleasant" in meaning
    assert "0.5 is neutral" in meaning
    page.set_input_files("#files", str(SAMPLES / "slow-low.wav"))
    page.locator("#count", has_text="1 labelled").wait_for()
    page.click("#clear")
    assert not page.locator("#results").is_visible()
    assert not page.locator("#detail").is_visible()
    page.set_input_files("#files", str(SAMPLES / "plain.wav"))
    page.locator("#count", has_text="1 labelled").wait_for()
    assert page.inner_text("#name") == "plain.wav"


def test_a_row_plays_and_the_timeline_shows_its_windows(pages, visit):
    page = visit((pages("wav2small-emotion", "native-int8") / "index.html").as_uri())
    page.set_input_files("#files", str(SAMPLES / "slow-low.wav"))
    page.locator("#count", has_text="1 labelled").wait_for()
    page.locator("#body tr").click()
    page.wait_for_timeout(700)
    assert page.evaluate("document.getElementById('player').currentTime") > 0.1
    assert page.evaluate("timeline.recording.rows.length") == 6
    assert page.inner_text("#name") == "slow-low.wav"


@pytest.mark.parametrize("where", ["file", "http"])
def test_it_hears_the_microphone(where, pages, served, visit, tmp_path_factory):
    fake = tmp_path_factory.mktemp("fake") / "voice.wav"
    shutil.copy(SAMPLES / "plain.wav", fake)
    address = served if where == "http" else (pages("wav2small", "native-int8") / "index.html").as_uri()
    page = visit(address, flags=(f"--use-file-for-fake-audio-capture={fake}",))
    page.click("#speak")
    page.locator("#live[data-rows]").wait_for()
    assert page.locator("#dot").is_visible()
    page.wait_for_timeout(3000)
    assert int(page.get_attribute("#live", "data-rows")) >= 6  # one every quarter of a second
    assert "valence" in page.inner_text("#now")
    valence = float(page.inner_text("#now").split()[-1])
    assert 0.3 < valence < 1.3  # the recording has .71
    assert page.evaluate("liveline.recording.rows.every(row => row.error || row.arousal > 0.2)")
    page.click("#stop")
    assert not page.locator("#dot").is_visible()
    page.wait_for_timeout(500)  # a window that is being labelled still has its row
    rows = page.get_attribute("#live", "data-rows")
    page.wait_for_timeout(700)
    assert page.get_attribute("#live", "data-rows") == rows


def test_a_stream_has_the_rows_of_its_windows(pages, visit):
    page = visit((pages("wav2small", "native-int8") / "index.html").as_uri())
    samples = spoken(6)
    rows = page.evaluate(
        """async text => {"""
        + UNPACK
        + """
        const samples = take(text), rows = [];
        await model.listen({window: 2, hop: 0.5});
        for (let at = 0; at < samples.length; at += 997) rows.push(...await model.push(samples.subarray(at, at + 997)));
        return rows;
    }""",
        packed(samples),
    )
    assert [row["end"] for row in rows] == [1 + 0.5 * i for i in range(11)]
    labeller = Labeller("wav2small", "native-int8", vad=False)
    for row in rows[2:]:
        cut = samples[int(row["start"] * RATE) : int(row["end"] * RATE)]
        assert len(cut) == 2 * RATE
        if row["error"] is None:
            assert row["arousal"] == dict(labeller.label(cut, RATE))["arousal"]
    assert sum(row["error"] is None for row in rows) > 6


def test_it_works_from_a_web_server(served, visit):
    page = visit(served)
    page.set_input_files("#files", str(SAMPLES / "plain.wav"))
    page.locator("#count", has_text="1 labelled").wait_for()


def test_the_page_goes_on_while_the_worker_works(served, visit):
    page = visit(served)
    turns = page.evaluate(
        """async text => {"""
        + UNPACK
        + """
        let turns = 0, done = false;
        model.label(take(text)).then(() => { done = true; });
        for (; !done; turns++) await new Promise(resolve => setTimeout(resolve));
        return turns;
    }""",
        packed(spoken(125)),
    )
    assert turns > 10  # on the page's own thread, it would be one
