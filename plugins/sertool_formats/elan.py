"""ELAN's annotation format (.eaf)."""

import itertools
from pathlib import Path
from typing import Any, TextIO

from sertool.errors import UsageError
from sertool.segments import Annotated, Segment, Table

from .praat import chosen
from .texts import filled, in_xml
from .tiers import tiers


class Eaf:
    """An annotation document, version 2.8, linked to the recording; times in milliseconds."""

    def __init__(self, stream: TextIO, table: Table) -> None:
        self._stream, self._table = stream, table

    def write(self, recording: Annotated) -> None:
        from pympi.Elan import Eaf as Document
        from pympi.Elan import to_string

        document = Document(author=in_xml(self._table.model))
        document.adocument["DATE"] = "1970-01-01T00:00:00+00:00"  # the same rows give the same file
        document.remove_tier("default")
        document.add_linked_file(in_xml(recording.file), mimetype="audio/x-wav")
        for tier in tiers(self._table, recording.rows):
            name = in_xml(tier.name)
            document.add_tier(name)
            for start, end, text in tier.entries:
                begin, finish = round(start * 1000), round(end * 1000)
                document.add_annotation(name, begin, max(finish, begin + 1), in_xml(text))
        self._stream.write('<?xml version="1.0" encoding="UTF-8"?>\n' + str(to_string(document)))

    def close(self) -> None:
        self._stream.flush()


def read(path: Path, tier: str | None = None) -> list[Segment]:
    """Read the annotations of all tiers, or of one.

    An annotation that refers to another one has its times; times that ELAN leaves open are spread evenly between their
    neighbours. Raises UsageError.
    """
    from pympi.Elan import Eaf as Document

    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        document = Document(str(path), suppress_version_warning=True)
        _resolve(document)
        times = _times(document)
    except Exception as error:  # pympi raises whatever a malformed file leads to
        raise UsageError(f"{path}: not an ELAN file ({' '.join(str(error).split())[:100]})") from None
    result = []
    for name in chosen(list(document.tiers), tier, path):
        aligned, referring = document.tiers[name][:2]
        entries = [(times[key], value[2]) for key, value in aligned.items()]
        entries += [(times[key], value[1]) for key, value in referring.items() if key in times]
        speaker = document.tiers[name][2].get("PARTICIPANT")
        for (start, end), text in sorted(entries):
            result.append(Segment(start, end, filled({"tier": name, "speaker": speaker, "text": text})))
    return result


def _resolve(document: Any) -> None:
    """Fill in the times of slots without one: evenly between the neighbours in their tier."""
    order = {slot: index for index, slot in enumerate(document.timeslots)}
    for aligned, *_ in document.tiers.values():
        chain: list[str] = []
        for start, end, *_ in sorted(aligned.values(), key=lambda entry: order[entry[0]]):
            chain += [slot for slot in (start, end) if slot not in chain[-1:]]
        known = [index for index, slot in enumerate(chain) if document.timeslots[slot] is not None]
        for before, after in itertools.pairwise(known):
            first, last = document.timeslots[chain[before]], document.timeslots[chain[after]]
            for index in range(before + 1, after):
                share = (index - before) / (after - before)
                document.timeslots[chain[index]] = round(first + (last - first) * share)


def _times(document: Any) -> dict[str, tuple[float, float]]:
    """Return annotation -> (start, end) in seconds."""
    times = {}
    for aligned, *_ in document.tiers.values():
        for key, (start, end, *_) in aligned.items():
            times[key] = document.timeslots[start] / 1000, document.timeslots[end] / 1000
    referring = {key: value[0] for tier in document.tiers.values() for key, value in tier[1].items()}
    for key, parent in referring.items():
        seen = {key}
        while parent in referring and parent not in seen:
            seen.add(parent)
            parent = referring[parent]
        if parent in times:
            times[key] = times[parent]
    return times
