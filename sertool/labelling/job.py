"""Label many recordings, several at a time."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sertool import audio
from sertool.errors import AudioError, UsageError
from sertool.labelling import table
from sertool.labelling.journal import Journal, stamp
from sertool.labelling.labeller import Labeller, Spread
from sertool.labelling.labels import Labels
from sertool.labelling.plan import Plan
from sertool.recordings import remote
from sertool.recordings.fetch import on_disk
from sertool.recordings.places import Place, parts
from sertool.recordings.pool import FAULTS, Meter, Spare, decoded, each, reason
from sertool.recordings.recording import Recording
from sertool.segments import Segment
from sertool.speech.detection import SILENT

#: Rows of one channel of one track, and the length of the recording in seconds.
_Part: TypeAlias = tuple[list[dict[str, Any]], float]


@dataclass(frozen=True)
class Result:
    """A finished recording.

    ``rows`` are its rows of the label table, ``seconds`` its length, ``taken_over`` whether the rows come from a
    journal, ``notes`` remarks on the file for the user.
    """

    recording: Recording
    rows: list[dict[str, Any]]
    seconds: float
    failed: bool
    taken_over: bool = False
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The recording's name in the table."""
        return self.recording.name

    @property
    def error(self) -> str | None:
        """Why the recording has no labels; None if it has."""
        return self.rows[0]["error"] if self.failed else None

    @property
    def labels(self) -> list[Labels]:
        """The labels as in the table, rounded to six decimals, one per row; none if the recording failed."""
        rows = [] if self.failed else self.rows
        return [Labels({key: value for key, value in row.items() if key != "file"}) for row in rows]


def label_one(
    labeller: Labeller,
    recording: Recording,
    plan: Plan,
    meter: Meter | None = None,
    spread: Spread = itertools.starmap,
) -> Result:
    """Label a recording; a fault of the file becomes the row's ``error``.

    Of several channels or tracks, those that cannot be labelled have a row with an error and a note; the recording
    fails only if none can be.
    """
    columns = table.table(labeller, plan).columns
    try:
        with on_disk(recording) as there:
            places = parts(there, plan.channel, plan.track)
            return _label(labeller, recording, there, plan, places, meter or Meter(), spread)
    except FAULTS as fault:
        return Result(recording, [table.row(recording.name, {"error": reason(fault)}, columns)], 0.0, failed=True)


def _label(
    labeller: Labeller,
    recording: Recording,
    there: Recording,
    plan: Plan,
    places: list[Place],
    meter: Meter,
    spread: Spread,
) -> Result:
    """Label the places of a recording, which is ``there`` on disk."""
    columns, notes = table.table(labeller, plan).columns, dict[str, None]()
    rows, errors, seconds = list[dict[str, Any]](), list[str](), 0.0
    for place in places:
        own = place.columns
        try:
            part, length = _part(labeller, there, plan, place, meter, lambda text: notes.update({text: None}), spread)
            rows += [table.row(recording.name, own | values, columns) for values in part]
            seconds = max(seconds, length)
        except FAULTS as fault:
            errors.append(reason(fault))
            rows.append(table.row(recording.name, {**own, "error": errors[-1]}, columns))
            if own:
                what = place.text
                notes[f"{what} is silent" if errors[-1] == SILENT else f"{what}: {errors[-1]}"] = None
    failed = all(row["error"] for row in rows)
    without = [row["error"] for row in rows if row["error"]]
    if plan.by_segment and without and not failed:
        notes[f"{len(without)} of {len(rows)} rows have no label: {without[0]}"] = None
    return Result(recording, rows, seconds, failed, notes=() if failed else tuple(notes))


def _part(
    labeller: Labeller,
    recording: Recording,
    plan: Plan,
    place: Place,
    meter: Meter,
    note: Callable[[str], None],
    spread: Spread,
) -> _Part:
    """Label one channel of one track of a recording."""
    track, channel = place.track, place.channel
    if not plan.by_segment:
        blocks = meter.count(decoded(recording, note, channel, track))
        rows, length = (labeller.window_rows if plan.by == "window" else labeller.rows)(blocks, spread)
        whole = labeller.average(rows, length)  # also says why there are no labels
        if plan.by in ("window", "speech-window"):
            return [dict(row) for row in rows], length
        return [dict(whole) | ({"speaker": str(channel)} if plan.by == "speaker" else {})], length
    segments = _segments(recording, plan, channel, track, note)
    excerpts = audio.Excerpts(recording.path, note, channel, track)
    rows, length = labeller.segment_rows(excerpts, segments, plan.short, spread)
    meter.add(sum(row.end - row.start for row in rows if row.error is None))
    if plan.by == "segment":
        names = table.given_names(labeller, plan)
        return [
            {names[name]: text for name, text in segment.columns.items() if name in names} | dict(row)
            for segment, row in zip(segments, rows, strict=True)
        ], length
    if plan.by != "speaker":
        return [dict(labeller.merge(rows))], length
    if channel is None and not any(segment.columns.get("speaker") for segment in segments):
        raise AudioError("its segments name no speakers")
    speakers: dict[str, list[Labels]] = {}
    for segment, row in zip(segments, rows, strict=True):
        speakers.setdefault(segment.columns.get("speaker") or str(channel or ""), []).append(row)
    return [{"speaker": speaker} | _merged(labeller, own) for speaker, own in speakers.items()], length


def _merged(labeller: Labeller, rows: list[Labels]) -> dict[str, Any]:
    try:
        return dict(labeller.merge(rows))
    except AudioError as error:
        return {"start": min(row.start for row in rows), "end": max(row.end for row in rows), "error": str(error)}


def _segments(
    recording: Recording, plan: Plan, channel: int | None, track: int | None, note: Callable[[str], None]
) -> list[Segment]:
    """Return the given segments of a channel, or those that the segmenter finds in it. Raise AudioError for none."""
    if plan.segments is None:
        found = list(plan.find(decoded(recording, note, channel, track)))
        if not found:
            raise AudioError("no speech found")
        return found
    try:
        segments = plan.segments.of(recording)
    except UsageError as error:
        raise AudioError(str(error)) from None
    if channel is not None:
        segments = [segment for segment in segments if plan.segments.channel(segment) in (None, channel)]
    if not segments:
        raise AudioError("no segments")
    return segments


def stamped(recording: Recording, plan: Plan) -> list[int] | None:
    """Return what changes when the recording or its segments do; None if there is no file."""
    own = _own_stamp(recording)
    return own and own + (plan.segments.stamp(recording) if plan.segments else [])


def _own_stamp(recording: Recording) -> list[int] | None:
    if recording.url:
        return recording.stamp or remote.stamp_of(recording.url)
    return stamp(recording.path)


def taken_over(
    recording: Recording, now: list[int] | None, journal: Journal | None, columns: tuple[str, ...]
) -> Result | None:
    """Return the result that a journal has of a recording whose stamp is still the same."""
    entry = journal.finished(recording, now) if journal else None
    if entry is None:
        return None
    rows = [{name: row.get(name) for name in columns} for row in entry.rows]
    return Result(recording, rows, entry.seconds, failed=False, taken_over=True)


def label_all(
    labeller: Labeller,
    recordings: Sequence[Recording],
    plan: Plan | str = "file",
    *,
    jobs: int = 1,
    ordered: bool = False,
    journal: Journal | None = None,
    stop: threading.Event | None = None,
    meter: Meter | None = None,
) -> Iterator[Result]:
    """Label recordings in ``jobs`` threads; yield each Result as it is finished, or in their order if ``ordered``.

    ``plan`` says what a row is: a Plan, or one of its kinds, such as "window". A recording that cannot be labelled has
    a Result with ``error``; it does not end the run. Once ``stop`` is set, no further file is started; those in
    progress are finished and yielded. Results of recordings in the journal are taken from it, and each new one is added
    as soon as it is finished.
    """
    plan = Plan(plan) if isinstance(plan, str) else plan
    if plan.by_segment and not plan.segments:
        _ = plan.find  # load it before the threads need it
    columns, spare = table.table(labeller, plan).columns, Spare(jobs)

    def work(recording: Recording) -> Result:
        before = stamped(recording, plan) if journal else None
        if known := taken_over(recording, before, journal, columns):
            return known
        with spare.recording():
            result = label_one(labeller, recording, plan, meter, spare.starmap)
        if journal:
            journal.add(recording, before, result.rows, result.seconds, result.failed)
        return result

    def results() -> Iterator[Result]:
        try:
            yield from each(work, recordings, jobs=jobs, ordered=ordered, stop=stop)
        finally:
            spare.close()

    return results()
