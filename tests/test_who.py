"""docs/who.md: its commands run on recordings of the kinds that it describes; as a script, this draws its pictures.

python tests/test_who.py
"""

import csv
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sertool import audio, bundle

DOCS = Path(__file__).resolve().parents[1] / "docs"
RATE = 16_000
SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"
#: Who says what in each recording: (sample, speaker, text).
TURNS = (
    ("plain", "agent", "Good morning, how can I help you?"),
    ("slow-low", "customer", "I have waited for three weeks."),
    ("fast-high", "agent", "I am sorry to hear that."),
    ("slow-low", "customer", "And nobody called me back!"),
)


def turns() -> list[tuple[float, float, np.ndarray, str, str]]:
    """Return (start, end, samples, speaker, text) of each turn."""
    found, start = [], 0.5
    for name, speaker, text in TURNS:
        samples = audio.read(SAMPLES / f"{name}.wav")
        end = round(start + len(samples) / RATE, 3)
        found.append((start, end, samples, speaker, text))
        start = round(end + 0.4, 3)
    return found


def make(folder: Path) -> None:
    """Write the recordings and annotations that the page refers to."""
    spoken = turns()
    length = round((spoken[-1][1] + 0.5) * RATE)
    stereo = np.zeros((length, 2), np.float32)
    for start, _, samples, speaker, _ in spoken:
        first = round(start * RATE)
        stereo[first : first + len(samples), 0 if speaker == "agent" else 1] += samples
    (folder / "calls").mkdir()
    (folder / "talks").mkdir()
    soundfile.write(folder / "calls" / "call.wav", stereo, RATE)
    for name in ("interview.wav", "talk.wav", "talks/talk.wav"):
        soundfile.write(folder / name, stereo.sum(axis=1), RATE)
    lines = [f"SPEAKER call 1 {s} {e - s:.3f} <NA> <NA> {who} <NA> <NA>" for s, e, _, who, _ in spoken]
    (folder / "turns.rttm").write_text("\n".join(lines))
    cues = [f"{i}\n{clock(s)} --> {clock(e)}\n{text}\n" for i, (s, e, _, _, text) in enumerate(spoken, 1)]
    (folder / "interview.srt").write_text("\n".join(cues))
    labels = ("neutral", "sad", "neutral", "angry")
    write_grid(folder / "talk.TextGrid", "utterances", [(s, e, text) for s, e, *_, text in spoken], length / RATE)
    own = [(s, e, label) for (s, e, *_), label in zip(spoken, labels, strict=True)]
    write_grid(folder / "talks" / "talk.TextGrid", "emotion", own, length / RATE)


def clock(seconds: float) -> str:
    return f"00:00:{seconds:06.3f}".replace(".", ",")


def write_grid(path: Path, tier: str, entries: list[tuple[float, float, str]], length: float) -> None:
    from praatio import textgrid

    grid = textgrid.Textgrid()
    grid.addTier(textgrid.IntervalTier(tier, entries, 0, length))
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)


COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", (DOCS / "who.md").read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("who")
    make(place)
    return place


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_page(line, folder, command, monkeypatch):
    monkeypatch.chdir(folder)
    program, *arguments = shlex.split(line)
    assert program == "sertool"
    output = arguments[arguments.index("-o") + 1] if "-o" in arguments else None
    answer = command(*arguments)
    assert answer.code == 0, answer.err
    assert Path(output).stat().st_size > 50 if output else answer.out.count("\n") > 2


def test_the_call_is_labelled_turn_by_turn(folder, command, monkeypatch):
    monkeypatch.chdir(folder)
    out = command("label", "calls/call.wav", "-m", "wav2small", "--segments", "turns.rttm", "--channel", "each").out
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["speaker"] for row in rows if row["channel"] == "1"] == [who for _, who, _ in TURNS]


# ---- pictures ---------------------------------------------------------------------------------------------------

COLOURS = {"angry": "#D55E00", "happy": "#E69F00", "neutral": "#999999", "sad": "#0072B2"}


def labelled(folder: Path, *arguments: str) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "sertool", "label", *arguments, "-m", "mobile-emotion", "-q", "--format", "csv"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return list(csv.DictReader(done.stdout.splitlines()))


def figure(rows: int, ratios: list[int]):
    """Return a matplotlib figure and its axes, one above the other."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "sertool", "svg.fonttype": "none", "font.size": 9})
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9, 0.4 + 0.65 * sum(ratios)), layout="constrained")
    return drawn, np.atleast_1d(drawn.subplots(rows, 1, sharex=True, gridspec_kw={"height_ratios": ratios}))


def draw_waveform(axis, samples: np.ndarray) -> None:
    step = max(1, len(samples) // 400)
    parts = samples[: len(samples) // step * step].reshape(-1, step)
    time = np.arange(len(parts)) * step / RATE
    axis.fill_between(time, parts.min(axis=1), parts.max(axis=1), color="#333333", linewidth=0.2)
    axis.set(yticks=[], xlim=(0, len(samples) / RATE), ylim=(-1, 1))


def draw_boxes(axis, boxes: list[tuple[float, float, str]], name: str = "") -> None:
    for start, end, text in boxes:
        axis.broken_barh([(start, end - start)], (0, 1), facecolor="#EEEEEE", edgecolor="#999999")
        axis.text((start + end) / 2, 0.5, text, ha="center", va="center", fontsize=7)
    axis.set(yticks=[], ylim=(0, 1))
    axis.set_ylabel(name, rotation=0, ha="right", va="center")


def draw(path: Path, waveforms: list[np.ndarray], rows: list[list[dict[str, str]]], text: bool) -> None:
    """Draw each waveform with its rows shaded by class; with ``text``, their texts below."""
    drawn, axes = figure(len(waveforms) + text, [2] * len(waveforms) + [1] * text)
    for axis, samples, own in zip(axes, waveforms, rows, strict=False):
        draw_waveform(axis, samples)
        for row in own:
            start, end = float(row["start"]), float(row["end"])
            axis.axvspan(start, end, color=COLOURS[row["emotion"]], alpha=0.3, linewidth=0)
            label = f"{row['emotion']} {float(row[row['emotion']]):.2f}"
            axis.text((start + end) / 2, 0.95, label, transform=axis.get_xaxis_transform(), ha="center", va="top")
    if text:
        draw_boxes(axes[-1], [(float(row["start"]), float(row["end"]), row["text"]) for row in rows[0]])
    if len(waveforms) > 1:
        for number, axis in enumerate(axes, 1):
            axis.set_ylabel(f"channel {number}")
    axes[-1].set_xlabel("s")
    drawn.savefig(path, metadata={"Date": None})


def draw_tiers(path: Path, samples: np.ndarray, grid: Path) -> None:
    """Draw a waveform above the tiers of a TextGrid."""
    from praatio import textgrid

    tiers = textgrid.openTextgrid(str(grid), includeEmptyIntervals=False).tiers
    drawn, axes = figure(1 + len(tiers), [2] + [1] * len(tiers))
    draw_waveform(axes[0], samples)
    for axis, tier in zip(axes[1:], tiers, strict=True):
        draw_boxes(axis, [(entry.start, entry.end, entry.label) for entry in tier.entries], tier.name)
    axes[-1].set_xlabel("s")
    drawn.savefig(path, metadata={"Date": None})


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder)
        stereo, _ = soundfile.read(folder / "calls" / "call.wav", dtype="float32")
        mixed = stereo.sum(axis=1)
        (DOCS / "images").mkdir(exist_ok=True)
        each = labelled(folder, "calls/call.wav", "--channel", "each", "--by", "segment")
        own = [[row for row in each if row["channel"] == channel] for channel in "12"]
        draw(DOCS / "images" / "call.svg", list(stereo.T), own, text=False)
        subtitles = labelled(folder, "interview.wav", "--segments", "interview.srt")
        draw(DOCS / "images" / "interview.svg", [mixed], [subtitles], text=True)
        line = next(line for line in COMMANDS if "labelled.TextGrid" in line)
        subprocess.run([sys.executable, "-m", *shlex.split(line)], cwd=folder, check=True, capture_output=True)
        draw_tiers(DOCS / "images" / "praat.svg", mixed, folder / "labelled.TextGrid")


if __name__ == "__main__":
    main()
