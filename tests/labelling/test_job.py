"""Many recordings at once: every one of them to its rows, once, and what a journal keeps of it."""

import contextlib
import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest

from sertool.errors import UsageError
from sertool.labelling import Labeller, log, table
from sertool.labelling.job import label_all, label_one
from sertool.labelling.journal import Journal, stamp
from sertool.labelling.plan import Plan
from sertool.plugins import load_plugins
from sertool.recordings.pool import Summary, timed
from sertool.recordings.recording import Recording
from sertool.recordings.scan import scan
from sertool.segments import Annotated, Table

RUN = {"model": "m 1", "window": 8.0}


@pytest.fixture
def recordings(tmp_path, clip):
    """24 short files, every fourth of which cannot be read, and one that is missing."""
    for i in range(24):
        path = clip(tmp_path / "in" / f"{i:02}.wav", 0.05 + 0.01 * i, seed=i)
        if i % 4 == 3:
            path.write_bytes(b"broken")
    return [*scan([str(tmp_path / "in")]), Recording(tmp_path / "gone.wav", "gone.wav")]


def rows_of(results):
    return [row for result in results for row in result.rows]


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize("ordered", [False, True])
def test_every_recording_gives_exactly_its_row(labeller, recordings, jobs, ordered):
    results = list(label_all(labeller, recordings, jobs=jobs, ordered=ordered))
    expected = {r.name: label_one(labeller, r, Plan()).rows for r in recordings}
    assert {result.recording.name: result.rows for result in results} == expected
    assert len(results) == len(recordings)
    if ordered:
        assert [result.recording for result in results] == recordings
    failed = {result.recording.name for result in results if result.failed}
    assert failed == {f"{i:02}.wav" for i in range(3, 24, 4)} | {"gone.wav"}
    for row in rows_of(results):
        assert (row["error"] is None) == (row["file"] not in failed) == (row["arousal"] is not None)


def test_a_broken_file_in_the_middle_shifts_nothing(labeller, recordings):
    whole = [r for r in recordings if not label_one(labeller, r, Plan()).failed]
    with_broken = {row["file"]: row for row in rows_of(label_all(labeller, recordings, jobs=4))}
    without = {row["file"]: row for row in rows_of(label_all(labeller, whole, jobs=1))}
    assert {name: with_broken[name] for name in without} == without


@pytest.mark.parametrize(
    "error", [MemoryError("no room"), RuntimeError("odd\nthing"), ValueError("odd"), OSError(5, "I/O")]
)
def test_an_unforeseen_error_of_one_file_is_its_row_and_not_the_end_of_the_run(
    labeller, recordings, monkeypatch, error
):
    from sertool import audio

    blocks = audio.blocks

    def sometimes(path, note, *place):
        if path.name == "05.wav":
            raise error
        return blocks(path, note)

    monkeypatch.setattr(audio, "blocks", sometimes)
    rows = {row["file"]: row for row in rows_of(label_all(labeller, recordings, jobs=2))}
    assert rows["05.wav"]["error"].startswith(type(error).__name__)
    assert "\n" not in rows["05.wav"]["error"]
    assert rows["06.wav"]["error"] is None


def test_stop_begins_no_new_file_and_leaves_out_none_that_was_begun(labeller, recordings):
    stop, results = threading.Event(), []
    for result in label_all(labeller, recordings * 20, jobs=2, stop=stop):
        results.append(result)
        if len(results) == 5:
            stop.set()
    assert 5 <= len(results) <= 5 + 4 * 2  # those in hand at most
    before = threading.Event()
    before.set()
    assert list(label_all(labeller, recordings, jobs=2, stop=before)) == []


def test_the_summary_counts(labeller, recordings, tmp_path):
    summary = Summary()
    results = list(timed(label_all(labeller, recordings, jobs=2), summary))
    assert (summary.labelled, summary.failed, summary.taken_over) == (18, 7, 0)
    assert summary.seconds == pytest.approx(sum(0.05 + 0.01 * i for i in range(24) if i % 4 != 3), abs=1e-3)
    assert summary.seconds == pytest.approx(sum(result.seconds for result in results))
    assert summary.wall > 0


def test_windows_gives_a_row_a_window_and_one_for_what_failed(clip, tmp_path):
    labeller = Labeller(vad=False)  # tones are no speech
    clip(tmp_path / "in/a.wav", 17.5)
    (tmp_path / "in/b.wav").touch()
    results = label_all(labeller, scan([str(tmp_path / "in")]), "window", jobs=1, ordered=True)
    rows = rows_of(results)
    assert [(row["file"], row["start"], row["end"]) for row in rows] == [
        ("a.wav", 0, 8),
        ("a.wav", 8, 16),
        ("a.wav", 16, 17.5),
        ("b.wav", None, None),
    ]


AWKWARD = [
    {"file": "a.wav", "start": 0.0, "end": 1 / 3, "arousal": 0.1234567891, "dominance": -0.5, "valence": 1e-7},
    {
        "file": 'quo"te, comma\nline\rfeed.wav',
        "start": 8.0,
        "end": 9.5,
        "arousal": 0.5,
        "dominance": 0.5,
        "valence": 1.0,
    },
    {"file": os.fsdecode(b"caf\xe9 \xc3\xbc.wav"), "error": "truncated: ffmpeg -i caf\udce9.wav"},
]


COLUMNS = ("file", "start", "end", "arousal", "dominance", "valence", "speech", "error")


def written(form, tmp_path):
    """Rows through a writer and back, as dicts of str, float and None."""
    rows = [table.row(row["file"], {k: v for k, v in row.items() if k != "file"}, COLUMNS) for row in AWKWARD]
    columns = Table(COLUMNS, ("arousal", "dominance", "valence"))
    chosen, path, stream = load_plugins().get("formats", form), tmp_path / "t", io.StringIO(newline="")
    writer = chosen.open(path if chosen.binary else stream, columns)
    for row in rows:
        writer.write(Annotated(row["file"], "stem", 1.0, [row]))
    writer.close()
    if form == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        read = parquet.read_table(path)
        return read.column_names, read.to_pylist()
    if form == "sqlite":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.row_factory = sqlite3.Row
            read = [dict(row) for row in connection.execute("SELECT * FROM labels ORDER BY rowid")]
        return list(read[0]), read
    if form == "xlsx":
        openpyxl = pytest.importorskip("openpyxl")
        path.rename(tmp_path / "t.xlsx")
        head, *body = openpyxl.load_workbook(tmp_path / "t.xlsx").active.iter_rows(values_only=True)
        return list(head), [dict(zip(head, row, strict=True)) for row in body]
    text = stream.getvalue()
    text.encode()  # nothing that UTF-8 cannot carry
    if form == "jsonl":
        read = [json.loads(line) for line in text.split("\n")[:-1]]
        return list(read[0]), read
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    text_columns = ("file", "error")
    return list(read[0]), [
        {k: v if k in text_columns and v else float(v) if v else None for k, v in r.items()} for r in read
    ]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "sqlite", "xlsx"])
def test_every_format_holds_the_same_rows_in_the_same_columns(tmp_path, form):
    columns, rows = written(form, tmp_path)
    name = 'quo"te, comma\nline\rfeed.wav' if form != "xlsx" else 'quo"te, comma\nline\nfeed.wav'  # of XML
    assert columns == ["file", "start", "end", "arousal", "dominance", "valence", "speech", "error"]
    assert rows == [
        dict(zip(columns, ["a.wav", 0.0, 0.333333, 0.123457, -0.5, 0.0, None, None], strict=True)),
        dict(zip(columns, [name, 8.0, 9.5, 0.5, 0.5, 1.0, None, None], strict=True)),
        dict(zip(columns, ["caf\\xe9 ü.wav", *[None] * 6, "truncated: ffmpeg -i caf\\xe9.wav"], strict=True)),
    ]


def labelled(journal, labeller, recordings):
    results = list(label_all(labeller, recordings, jobs=2, journal=journal))
    journal.close()
    return results


def taken_over(results):
    return {result.recording.name for result in results if result.taken_over}


def entries(path):
    return [found.thing for found in log.read(path) if found and isinstance(found.thing, log.Entry)]


@pytest.fixture
def finished(labeller, recordings, tmp_path):
    """A run that has come to its end: the output's path, and its results by name."""
    output = tmp_path / "labels.csv"
    results = labelled(Journal(output, RUN, "new"), labeller, recordings)
    output.touch()
    return output, {result.recording.name: result for result in results}


def test_resume_takes_over_what_was_labelled_and_tries_again_what_failed(labeller, recordings, finished):
    output, before = finished
    results = labelled(Journal(output, RUN, "resume"), labeller, recordings)
    assert taken_over(results) == {name for name, result in before.items() if not result.failed}
    assert {result.recording.name: result.rows for result in results} == {n: r.rows for n, r in before.items()}


def test_resume_labels_a_changed_file_anew_and_only_that(labeller, recordings, finished, clip):
    output, before = finished
    clip(recordings[4].path, 0.3, seed=99)
    results = labelled(Journal(output, RUN, "resume"), labeller, recordings)
    assert taken_over(results) == {n for n, r in before.items() if not r.failed} - {recordings[4].name}
    (anew,) = [result for result in results if result.recording == recordings[4]]
    assert anew.rows[0]["end"] == pytest.approx(0.3)


def test_resume_can_be_resumed_again_and_again(labeller, recordings, finished):
    output, before = finished
    for _ in range(3):
        results = labelled(Journal(output, RUN, "resume"), labeller, recordings[:10])
        assert len(taken_over(results)) == 8
    results = labelled(Journal(output, RUN, "resume"), labeller, recordings)
    assert taken_over(results) == {name for name, result in before.items() if not result.failed}


@pytest.mark.parametrize("kept", [1, 5, 40])
def test_a_journal_line_cut_in_the_middle_costs_that_recording_only(labeller, recordings, finished, kept):
    output, _ = finished
    path = output.with_name("labels.csv.journal")
    *whole, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole))
    left = entries(path)
    path.write_bytes(b"".join(whole) + last[:kept])
    results = labelled(Journal(output, RUN, "resume"), labeller, recordings)
    assert taken_over(results) == {entry.name for entry in left if not entry.failed}
    assert len(results) == len(recordings)


@pytest.mark.parametrize("damage", [b"\0\0\0\0\n", b'{"name": "00.wav", \n', b"\xff\xfe\n", b"[1]\n", b"\n"])
def test_a_damaged_journal_line_costs_that_recording_only(labeller, recordings, finished, damage):
    output, _ = finished
    path = output.with_name("labels.csv.journal")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], *lines[6:]]))
    left = entries(path)
    path.write_bytes(b"".join([*lines[:5], damage, *lines[6:]]))
    results = labelled(Journal(output, RUN, "resume"), labeller, recordings)
    assert len(left) == len(recordings) - 1
    assert taken_over(results) == {entry.name for entry in left if not entry.failed}


def test_a_journal_whose_head_is_damaged_is_refused(finished):
    output, _ = finished
    path = output.with_name("labels.csv.journal")
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    with pytest.raises(UsageError, match=r"labels\.csv\.journal is damaged: --restart"):
        Journal(output, RUN, "resume")


@pytest.mark.parametrize("key", RUN)
def test_resume_of_another_run_is_refused_and_names_the_difference(finished, key):
    output, _ = finished
    before = output.with_name("labels.csv.journal").read_bytes()
    with pytest.raises(UsageError, match=f"made with {key} = .*--restart"):
        Journal(output, {**RUN, key: "other"}, "resume")
    assert output.with_name("labels.csv.journal").read_bytes() == before


def test_an_existing_output_is_not_written_over(finished):
    output, _ = finished
    before = output.with_name("labels.csv.journal").read_bytes()
    with pytest.raises(UsageError, match=r"labels\.csv exists: --resume .*--restart"):
        Journal(output, RUN, "new")
    assert output.with_name("labels.csv.journal").read_bytes() == before


def test_an_output_without_its_journal_is_not_resumed(tmp_path):
    (tmp_path / "labels.csv").touch()
    with pytest.raises(UsageError, match="not its journal"):
        Journal(tmp_path / "labels.csv", RUN, "resume")


def test_resume_of_what_never_began_begins(labeller, recordings, tmp_path):
    (tmp_path / "labels.csv.journal").touch()  # what a crash of the machine leaves
    results = labelled(Journal(tmp_path / "labels.csv", RUN, "resume"), labeller, recordings)
    assert len(results) == len(recordings)
    assert not taken_over(results)


def test_restart_takes_nothing_over(labeller, recordings, finished):
    output, _ = finished
    assert not taken_over(labelled(Journal(output, RUN, "restart"), labeller, recordings))


def test_a_flipped_bit_costs_one_or_two_recordings_and_never_changes_a_row(labeller, recordings, finished):
    output, before = finished
    path = output.with_name("labels.csv.journal")
    whole = path.read_bytes()
    head = whole.index(b"\n") + 1
    rng = np.random.default_rng(0)
    good = {name for name, result in before.items() if not result.failed}
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[rng.integers(head, len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        journal = Journal(output, RUN, "resume")
        kept = {
            recording.name: entry
            for recording in recordings
            if (entry := journal.finished(recording, stamp(recording.path)))
        }
        journal.close()
        assert len(good) - 2 <= len(kept) <= len(good)
        assert all(entry.rows == before[name].rows for name, entry in kept.items())


def test_a_recording_is_known_by_its_place_and_not_by_its_name(labeller, recordings, finished, clip, tmp_path):
    output, before = finished
    renamed = [Recording(recording.path, f"../in/{recording.name}") for recording in recordings]
    journal = Journal(output, RUN, "resume")
    assert journal.others(renamed) == []
    results = labelled(journal, labeller, renamed)
    assert len(taken_over(results)) == sum(not result.failed for result in before.values())
    assert all(row["file"] == result.recording.name for result in results for row in result.rows)
    # Another file of the same name, size and time somewhere else is another file.
    first = next(recording for recording in recordings if not before[recording.name].failed)
    other = tmp_path / "elsewhere" / first.name
    other.parent.mkdir()
    other.write_bytes(first.path.read_bytes())
    os.utime(other, ns=(first.path.stat().st_atime_ns, first.path.stat().st_mtime_ns))
    journal = Journal(output, RUN, "resume")
    assert journal.finished(first, stamp(first.path))
    assert journal.finished(Recording(other, first.name), stamp(other)) is None
    journal.close()


@pytest.mark.slow("takes long")
@pytest.mark.skipif(os.name != "posix", reason="files are locked on POSIX systems only")
def test_of_many_that_resume_at_once_one_goes_on_and_the_journal_stays_whole(finished):
    output, before = finished
    start = (
        "import sys, json; from pathlib import Path; from sertool.labelling.journal import Journal;"
        "from sertool.errors import UsageError\n"
        "sys.stdin.read(1)\n"
        "try: journal = Journal(Path(sys.argv[1]), json.loads(sys.argv[2]), 'resume')\n"
        "except UsageError as error: print(error); sys.exit(1)\n"
        "print('mine'); sys.stdin.read(); journal.close()\n"
    )
    command = [sys.executable, "-c", start, output, json.dumps(RUN)]
    for _ in range(3):
        running = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
        ]
        for process in running:
            process.stdin.write("x")
            process.stdin.flush()
        said = [process.stdout.readline() for process in running]
        for process in running:
            process.communicate()
        assert said.count("mine\n") == 1
        assert said.count("another sertool is writing labels.csv\n") == 3
    journal = Journal(output, RUN, "resume")
    assert journal.before == sum(not result.failed for result in before.values())
    journal.close()


def test_rows_of_a_store_are_kept_though_nobody_looks_there(tmp_path):
    output, there = tmp_path / "labels.csv", Recording.at("s3://bucket/a.wav?x=1", "a.wav", [5, 7])
    gone = Recording(tmp_path / "gone.wav", "gone.wav")
    journal = Journal(output, RUN, "new")
    for recording in (there, gone):
        journal.add(recording, [5, 7], [{"file": recording.name, "arousal": 0.5}], 1.0, False)
    journal.close()
    output.touch()
    journal = Journal(output, RUN, "resume")
    (kept,) = journal.others([])
    assert (kept.key, kept.name, kept.stamp) == (there.key, "a.wav", [5, 7])
    assert journal.finished(kept, kept.stamp).rows == [{"file": "a.wav", "arousal": 0.5}]
    assert journal.others([there]) == []
    journal.close()
