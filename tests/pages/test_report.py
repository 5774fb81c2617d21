"""The report in a real browser: the map, the table, the timeline and the player are one."""

import csv
import itertools
import json

import numpy as np
import pytest
import soundfile

from sertool import cli

RATE = 16_000
#: What would become markup, a script or another address if a name were not data.
HOSTILE = [
    "<img src=x onerror=alert(1)>.wav",
    "<∕script><script>document.title='gone'</script>.wav",
    '" onmouseover="alert(1)".wav',
    "{{7*7}} ${7*7} &lt;b&gt; %3Cb%3E #frag?query.wav",
    "javascript:alert(1).wav",
    "Gespräch mit Leerzeichen 日本 🎧.wav",
]
COUNT = 2000


def run(*arguments):
    with pytest.raises(SystemExit) as exit:
        cli.main([str(argument) for argument in arguments])
    return exit.value.code


def voice(path, seconds, seed):
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * rng.uniform(90, 260) * k * time) / k for k in range(1, 12))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.2 * buzz * (np.sin(2 * np.pi * 2 * time) > -0.4), RATE, format="WAV")
    return path


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The report of 2,000 recordings, which sertool labelled: some with hostile names, two that failed."""
    folder = tmp_path_factory.mktemp("many")
    audio = folder / "audio"
    for number in range(COUNT - len(HOSTILE) - 2):
        voice(audio / f"speaker {number % 12}" / f"take {number:04d}.wav", 0.3 + 0.05 * (number % 7), number)
    for number, name in enumerate(HOSTILE):
        voice(audio / name, 1.5, number)
    (audio / "broken <i>.wav").write_bytes(b"RIFF")
    soundfile.write(audio / "silent.wav", np.zeros(RATE), RATE)
    page = folder / "report.html"
    assert run("label", audio, "-m", "wav2small", "-o", folder / "labels.csv", "-q", "--report", page) == 1
    return page


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """The report of a recording of two speakers in windows, with its audio inside; the recording is gone."""
    folder = tmp_path_factory.mktemp("call")
    parts = [voice(folder / "x.wav", 2.0, seed) for seed in range(4)]
    samples = np.concatenate([soundfile.read(part)[0] for part in parts] + [np.zeros(RATE)] * 2)
    soundfile.write(folder / "call.wav", samples, RATE)
    page = folder / "call.html"
    options = ("--windows", "--window", 2, "--hop", 0.5, "--no-vad", "-o", folder / "call.csv", "-q")
    assert run("label", folder / "call.wav", "-m", "wav2small-emotion", *options, "--report", page, "--embed") == 0
    (folder / "call.wav").unlink()
    return page


def table_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def texts(page, selector):
    return page.locator(selector).all_inner_texts()


def test_it_is_one_file_below_a_megabyte_without_anything_of_others(many):
    text = many.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert "default-src &#x27;none&#x27;" in text
    assert "<img" not in text
    assert "alert(1)" not in text
    assert "speaker 3" not in text  # all of the data is packed


def test_the_map_the_table_and_the_player_show_the_same_recording(many, visit):
    page = visit(many.as_uri())
    assert page.inner_text("#count") == "all 2,000"
    assert "2,000 recordings" in page.inner_text("#summary")
    assert len(texts(page, "#body tr")) < 120  # only what is in sight
    place = page.evaluate(
        "(() => { const item = shown[700], [x, y] = spot(item); return [item.key, scale.x(x), scale.y(y)]; })()"
    )
    box = page.locator("#map").bounding_box()
    page.mouse.click(box["x"] + place[1], box["y"] + place[2])
    nearest = page.evaluate("selected.key")
    assert page.inner_text("#name") == nearest
    assert texts(page, "#body tr.selected th") == [nearest]  # it was scrolled to
    page.wait_for_timeout(700)
    assert page.evaluate("player.currentTime") > 0.1
    assert page.evaluate("player.error") is None


def test_the_audio_plays_and_the_cursor_follows(many, visit):
    page = visit(many.as_uri())
    page.fill("#search", "日本")
    page.locator("#count", has_text="1 of 2,000").wait_for()
    page.click("#body tr[aria-rowindex]")
    page.keyboard.press("Escape")
    page.evaluate("hear(selected)")
    page.wait_for_timeout(800)
    assert 0.2 < page.evaluate("player.currentTime") < 1.5
    assert abs(page.evaluate("timeline.cursor") - page.evaluate("player.currentTime")) < 0.3
    page.evaluate("player.pause()")
    box = page.locator("#timeline canvas").bounding_box()
    page.mouse.click(box["x"] + 30 + (box["width"] - 30) * 0.5, box["y"] + 20)
    assert page.evaluate("player.currentTime") == pytest.approx(0.75, abs=0.1)


def test_names_stay_text(many, visit):
    page = visit(many.as_uri())
    for name in HOSTILE:
        page.evaluate(
            "name => { state.q = `\"${name.replaceAll('\"', '')}\"`; refresh(); }", name.split(".wav")[0][-12:]
        )
        found = page.evaluate("name => items.find(item => item.key === name) ?? null", name)
        assert found is not None
        page.evaluate("name => select(items.find(item => item.key === name))", name)
        assert page.inner_text("#name") == name
    assert page.title() == "Labels of audio"
    assert page.locator("main img, main script").count() == 0
    page.evaluate("name => hear(items.find(item => item.key === name))", HOSTILE[4])
    page.wait_for_timeout(500)
    assert page.evaluate("player.error") is None


def test_failed_recordings_have_a_place_with_the_reason(many, visit):
    page = visit(many.as_uri())
    assert "silent: there is no sound in it" in page.inner_text("#failed")
    page.click("#failed button")
    failed = [row["file"] for row in table_of(many.with_name("labels.csv")) if row["error"]]
    assert page.inner_text("#count") == f"{len(failed)} of 2,000"
    assert "broken <i>.wav" in texts(page, "#body tr th")
    page.locator("#body tr", has_text="broken <i>.wav").click()
    assert "cannot be read as audio" in page.inner_text("#facts")


def test_searching_sorting_and_the_map_filter(many, visit):
    page = visit(many.as_uri())
    rows = table_of(many.with_name("labels.csv"))
    labelled = [row for row in rows if not row["error"]]

    def count(text):
        page.evaluate("text => search(text)", text)
        return page.evaluate("shown.length")

    for text, test in (
        ("arousal>0.6", lambda row: round(float(row["arousal"]), 3) > 0.6),
        ('folder:"speaker 3"', lambda row: row["file"].startswith("speaker 3/")),
        (
            '-"speaker 3" valence<0.5',
            lambda row: "speaker 3/" not in row["file"] and round(float(row["valence"]), 3) < 0.5,
        ),
        ("is:labelled 日本", lambda row: "日本" in row["file"]),
    ):
        assert count(text) == sum(map(test, labelled)), text
    count("")
    page.click("#head th:has-text('arousal') button")
    values = [float(text) for text in texts(page, "#body tr[aria-rowindex] td:nth-child(2)")[:20]]
    assert values == sorted(values, reverse=True)
    assert page.get_attribute("#head th:has-text('arousal')", "aria-sort") == "descending"
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 200, steps=4)
    page.mouse.up()
    [left, low, right, high] = page.evaluate("state.box")
    inside = [r for r in labelled if left <= float(r["valence"]) <= right and low <= float(r["arousal"]) <= high]
    assert abs(page.evaluate("shown.length") - len(inside)) <= 2  # the report has three decimals
    assert 0 < len(inside) < len(labelled)
    page.click("#clear")
    assert page.inner_text("#count") == "all 2,000"


def test_keys_and_links(many, visit):
    page = visit(many.as_uri())
    first = page.inner_text("#name")
    page.keyboard.press("ArrowDown")
    second = page.inner_text("#name")
    assert second != first
    page.keyboard.press("k")
    assert page.inner_text("#name") == first
    page.keyboard.press("/")
    page.keyboard.type("speaker 5")
    page.locator("#count", has_text="of 2,000").wait_for()
    page.keyboard.press("Tab")
    link = page.url
    other = visit(link)
    assert other.input_value("#search") == "speaker 5"
    assert other.inner_text("#count") == page.inner_text("#count")
    assert other.inner_text("#name") == page.inner_text("#name")
    page.keyboard.press("Escape")
    assert page.inner_text("#count") == "all 2,000"
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.click("#help button")


def test_groups_and_what_a_screen_reader_gets(many, visit):
    page = visit(many.as_uri())
    assert len(texts(page, "#bars figure")) == 10
    page.select_option("#group", "folder")
    page.select_option("#value", "arousal")
    name = page.locator("#bars figcaption button").first.inner_text()
    page.locator("#bars figcaption button").first.click()
    assert page.input_value("#search") == f'folder:"{name}"'
    tree = page.locator("#table").aria_snapshot()
    assert "columnheader" in tree
    assert "rowheader" in tree
    assert page.get_attribute("#table", "aria-rowcount") == str(page.evaluate("shown.length") + 1)
    assert "Map of" in page.get_attribute("#map", "aria-label")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("wide", [1280, 390])
def test_nothing_is_wider_than_the_window(many, call, visit, scheme, wide):
    for report in (many, call):
        page = visit(report.as_uri(), wide, scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= wide
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        page.click("#theme")
        assert page.evaluate("document.documentElement.dataset.theme") != scheme


def test_embedded_audio_plays_without_the_recording(call, visit):
    page = visit(call.as_uri())
    assert page.evaluate("items.length") == len(table_of(call.with_suffix(".csv")))
    assert page.evaluate("timeline.recording.rows.length") == page.evaluate("items.length")
    page.evaluate("select(items[6], {play: true})")
    page.wait_for_timeout(900)
    assert 3.1 < page.evaluate("player.currentTime") < 4.5  # the seventh window begins at 3 s
    assert page.evaluate("player.duration") == pytest.approx(10, abs=0.1)
    page.select_option("#level", "recording")
    assert page.evaluate("items.length") == 1
    rows = [row for row in table_of(call.with_suffix(".csv")) if not row["error"]]
    weights = [float(row["end"]) - float(row["start"]) for row in rows]
    mean = sum(float(row["angry"]) * weight for row, weight in zip(rows, weights, strict=True)) / sum(weights)
    assert page.evaluate("items[0].cells.confidence") is None
    assert page.evaluate("items[0].cells.angry") == pytest.approx(mean, abs=1e-3)


def test_a_recording_says_where_it_is_what(call, visit):
    page = visit(call.as_uri())
    rows = [row for row in table_of(call.with_suffix(".csv")) if not row["error"]]
    middles = [(float(row["start"]) + float(row["end"])) / 2 for row in rows]
    borders = [float(rows[0]["start"]), *map(np.mean, itertools.pairwise(middles)), float(rows[-1]["end"])]
    seconds = {}
    for row, (start, end) in zip(rows, itertools.pairwise(borders), strict=True):
        seconds[row["emotion"]] = seconds.get(row["emotion"], 0) + end - start
    lines = texts(page, "#passages li")
    assert len(lines) == len(seconds)
    for name, own in seconds.items():
        share = f"{round(own / sum(seconds.values()) * 100)} % of the time"
        assert any(line.startswith(name) and share in line for line in lines), (name, share, lines)
    most = max(seconds, key=seconds.get)
    strongest = max((row for row in rows if row["emotion"] == most), key=lambda row: float(row[most]))
    button = page.locator("#passages li").first.locator("button").first
    start, end = (int(text.split(":")[1]) for text in button.inner_text().split("–"))
    assert start <= (float(strongest["start"]) + float(strongest["end"])) / 2 <= end + 1
    button.click()
    page.wait_for_timeout(500)
    assert start < page.evaluate("player.currentTime") < start + 2


def test_the_legend_filters_and_hides(call, visit):
    page = visit(call.as_uri())
    mark = page.locator("#maplegend button").first
    name, count = mark.inner_text().split()
    assert count == str(page.evaluate("name => items.filter(item => item.cells.emotion === name).length", name))
    mark.click()
    assert page.input_value("#search") == f"emotion:{name}"
    assert page.evaluate("shown.length") == int(count)
    line = page.locator("#timeline .legend button", has_text=name)
    assert f"· {name} 0." in page.inner_text("#timeline .readout").replace("  ", " ")
    line.click()
    assert line.get_attribute("aria-pressed") == "false"
    assert f"· {name} 0." not in page.inner_text("#timeline .readout").replace("  ", " ")
    page.keyboard.press("ArrowDown")
    assert line.get_attribute("aria-pressed") == "false"  # of the next recording as well


def test_what_is_shown_can_be_saved(many, visit, tmp_path):
    page = visit(many.as_uri())
    page.evaluate("search('\"speaker 3\" is:labelled')")
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "some.csv")
    assert download.value.suggested_filename == "Labels of audio.csv"
    saved, rows = table_of(tmp_path / "some.csv"), {row["file"]: row for row in table_of(many.with_name("labels.csv"))}
    assert len(saved) == page.evaluate("shown.length") > 100
    for row in saved:
        assert row["folder"] == "speaker 3"
        assert float(row["arousal"]) == pytest.approx(float(rows[row["file"]]["arousal"]), abs=6e-4)
        assert float(row["valence.low"]) == pytest.approx(float(rows[row["file"]]["valence.low"]), abs=1.2e-3)


def test_the_search_hint_finds_something_and_columns_are_explained(many, call, visit):
    page = visit(call.as_uri())
    hint = page.get_attribute("#search", "placeholder").removeprefix("Search: ").split(", ")
    for text in hint[1:]:
        name = text.split(":")[0].split(">")[0]
        assert name == "is" or page.evaluate("name => name in data.column", name)
    assert page.evaluate("text => { search(text); return shown.length; }", hint[1]) > 0
    page = visit(many.as_uri())
    assert {"arousal", "typical", "speech (s)"} <= set(texts(page, "#meanings dt"))
    assert "often wrong" in page.inner_text("header")


def test_it_prints_all_rows_on_white(many, visit, tmp_path):
    page = visit(many.as_uri(), scheme="dark")
    page.pdf(path=tmp_path / "report.pdf")  # with the events before and after
    assert (tmp_path / "report.pdf").stat().st_size > 100_000
    assert len(texts(page, "#body tr[aria-rowindex]")) < 120
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert len(texts(page, "#body tr[aria-rowindex]")) == 2000
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert not page.locator("#search").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_ten_thousand_recordings_stay_below_a_megabyte_and_in_one_table(tmp_path, visit):
    from sertool.report import Report, write
    from sertool.report.rows import Labelled
    from sertool.report.sound import Sound, columns_for

    rng, rows, sounds = np.random.default_rng(0), [], {}
    for number in range(10_000):
        file, values = f"speaker {number % 50}/take {number:05d}.wav", rng.uniform(0.1, 0.9, 3)
        row = {"file": file, "start": 0.0, "end": 4.0}
        for name, value in zip(("arousal", "dominance", "valence"), values, strict=True):
            row |= {name: value, f"{name}.low": value - 0.1, f"{name}.high": value + 0.2}
        rows.append(row | {"speech": rng.uniform(1, 4), "error": None})
        peaks = "".join(chr(48 + level) for level in rng.integers(0, 32, columns_for(10_000)))
        sounds[file] = Sound(4.0, peaks, [(0.1, rng.uniform(1, 3.9))])
    table = Labelled("many", tuple(rows[0]), rows, ("arousal", "dominance", "valence"), "", "a model")
    assert write(Report(table, {}, sounds, "many", "today"), tmp_path / "many.html") < 1_000_000
    page = visit((tmp_path / "many.html").as_uri())
    assert page.inner_text("#count") == "all 10,000"
    assert page.locator("#body tr").count() < 120
    page.evaluate("scroller.scrollTop = 1e9")
    page.wait_for_timeout(100)
    assert texts(page, "#body tr[aria-rowindex] th")[-1] == "speaker 49/take 09999.wav"
    cells = page.evaluate(
        "Object.fromEntries(['arousal', 'arousal.low', 'arousal.high'].map(n => [n, items[7].cells[n]]))"
    )
    assert cells["arousal.low"] == pytest.approx(cells["arousal"] - 0.1, abs=1e-9)
    assert cells["arousal"] == pytest.approx(rows[7]["arousal"], abs=6e-4)


def test_two_models_side_by_side_and_labels_beside_the_truth(tmp_path, visit):
    def table(name, header, rows):
        with open(tmp_path / name, "w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
        return tmp_path / name

    head = ("file", "start", "end", "emotion", "sad", "happy", "error")
    one = table(
        "one.csv",
        head,
        [
            ("a.wav", 0, 1, "sad", 0.9, 0.1, ""),
            ("b.wav", 0, 1, "happy", 0.4, 0.6, ""),
            ("c.wav", 0, 1, "sad", 0.7, 0.3, ""),
            ("d.wav", "", "", "", "", "", "empty"),
        ],
    )
    two = table(
        "two.csv",
        head,
        [
            ("a.wav", 0, 1, "happy", 0.2, 0.8, ""),
            ("b.wav", 0, 1, "happy", 0.3, 0.7, ""),
            ("c.wav", 0, 1, "sad", 0.6, 0.4, ""),
            ("d.wav", "", "", "", "", "", "empty"),
        ],
    )
    truth = table("truth.csv", ("file", "label"), [("a.wav", "happy"), ("b.wav", "happy"), ("c.wav", "angry")])
    assert run("report", "--compare", one, two, "-o", tmp_path / "models.html", "-q") == 0
    page = visit((tmp_path / "models.html").as_uri())
    assert texts(page, "#body tr[aria-rowindex] th") == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert page.evaluate("shown.map(item => item.cells.difference)") == [0.7, 0.1, 0.1, None]
    assert "the same class in 2 of 3 (67 %); 1 without a class" in page.inner_text("#summary")
    assert texts(page, "#verdicts button") == ["different 1", "same 2", "not compared 1"]
    page.click("#verdicts button:has-text('same')")
    assert [row.split(",")[0] for row in texts(page, "#body tr[aria-rowindex] th")] == ["b.wav", "c.wav"]
    page.click("#verdicts button:has-text('same')")
    assert page.evaluate("shown.length") == 4
    page.click("#confusion td button:has-text('1')")
    assert page.evaluate("shown.length") == 1
    assert page.evaluate("timeline.recording.strips") == ["one", "two"]
    assert page.evaluate("timeline.recording.rows[0].labels") == ["sad", "happy"]
    assert texts(page, "#timeline .legend button[aria-pressed=false]") == []  # what either names is drawn
    assert run("report", "--compare", one, truth, "-o", tmp_path / "truth.html", "-q") == 0
    page = visit((tmp_path / "truth.html").as_uri())
    assert texts(page, "#body tr[aria-rowindex] th") == ["a.wav", "b.wav", "c.wav"]
    assert page.evaluate("shown.map(item => item.cells.difference)") == [0.9, 0.4, None]
    assert (
        "right in 1 of 2 (50 %) of the classes that the model knows; 1 of 3 (33 %) are of classes that it has no word"
        in page.inner_text("#summary")
    )
    assert {"the model says", "truth"} <= {text.split(" ↕")[0] for text in texts(page, "#head th")}
    assert texts(page, "#verdicts button") == ["wrong 1", "right 1", "not compared 1"]
    assert texts(page, "#confusion tr.unknown th") == ["angry *"]
    assert json.loads(page.evaluate("JSON.stringify(data.confusion.rows)")) == ["angry", "happy"]
