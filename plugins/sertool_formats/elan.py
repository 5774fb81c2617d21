"""ELAN's annotation format (.eaf), as its schema EAFv3.0 has it."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

from sertool.errors import UsageError
from sertool.segments import Annotated, Segment, Table

from .praat import chosen, named
from .texts import filled, in_xml
from .tiers import tiers

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"


class Eaf:
    """An annotation document, version 3.0, linked to the recording; times in milliseconds."""

    def __init__(self, stream: TextIO, table: Table) -> None:
        self._stream, self._table = stream, table

    def write(self, recording: Annotated) -> None:
        ElementTree.register_namespace("xsi", _XSI)
        root = ElementTree.Element(
            "ANNOTATION_DOCUMENT",
            AUTHOR=in_xml(self._table.model),
            DATE="1970-01-01T00:00:00+00:00",  # the same rows give the same file
            FORMAT="3.0",
            VERSION="3.0",
        )
        root.set(f"{{{_XSI}}}noNamespaceSchemaLocation", _SCHEMA)
        header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
        media = {"MEDIA_URL": in_xml(recording.file), "MIME_TYPE": "audio/x-wav"}
        ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", media)
        order = ElementTree.SubElement(root, "TIME_ORDER")
        numbers = itertools.count(1)

        def slot(milliseconds: int) -> str:
            name = f"ts{len(order) + 1}"
            ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(milliseconds))
            return name

        for tier in tiers(self._table, recording.rows):
            element = ElementTree.SubElement(root, "TIER", TIER_ID=in_xml(tier.name), LINGUISTIC_TYPE_REF="default-lt")
            for start, end, text in tier.entries:
                begin = round(start * 1000)
                times = {"TIME_SLOT_REF1": slot(begin), "TIME_SLOT_REF2": slot(max(round(end * 1000), begin + 1))}
                annotation = ElementTree.SubElement(
                    ElementTree.SubElement(element, "ANNOTATION"),
                    "ALIGNABLE_ANNOTATION",
                    {"ANNOTATION_ID": f"a{next(numbers)}", **times},
                )
                ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = in_xml(text)
        ElementTree.SubElement(
            root,
            "LINGUISTIC_TYPE",
            LINGUISTIC_TYPE_ID="default-lt",
            TIME_ALIGNABLE="true",
            GRAPHIC_REFERENCES="false",
        )
        ElementTree.indent(root)
        self._stream.write('<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n")

    def close(self) -> None:
        self._stream.flush()


@dataclass
class _Tier:
    """A tier's aligned annotations (identifier, first and last time slot, text), and those that refer to others."""

    name: str
    speaker: str | None
    aligned: list[tuple[str, str, str, str]]
    referring: list[tuple[str, str, str]]  # identifier, identifier of the other annotation, text


def read(path: Path, tier: str | None = None) -> list[Segment]:
    """Read the annotations of all tiers, or of one, in their order.

    An annotation that refers to another one has its times; times that ELAN leaves open are spread evenly between their
    neighbours. Raises UsageError.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UsageError(f"{path}: not an ELAN file ({error})") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise UsageError(f"{path}: not an ELAN file (its root is {root.tag})")
    own = [_tier(element) for element in root.iter("TIER")]
    try:
        times = _times(own, _slots(root, own))
    except (KeyError, ValueError) as error:
        raise UsageError(f"{path}: not a complete ELAN file ({error})") from None
    result = []
    names = chosen([part.name for part in own], tier, path)
    for name in names:
        part = next(part for part in own if part.name == name)
        entries = [(times[key], text) for key, *_, text in (*part.aligned, *part.referring) if key in times]
        for (start, end), text in sorted(entries):
            result.append(
                Segment(start, end, filled({"tier": named(name, names), "speaker": part.speaker, "text": text}))
            )
    return result


def _tier(element: ElementTree.Element) -> _Tier:
    result = _Tier(element.get("TIER_ID", ""), element.get("PARTICIPANT"), [], [])
    for entry in element.iterfind("ANNOTATION/*"):
        text = (entry.findtext("ANNOTATION_VALUE") or "").strip()
        key = entry.get("ANNOTATION_ID", "")
        if entry.tag == "ALIGNABLE_ANNOTATION":
            result.aligned.append((key, entry.get("TIME_SLOT_REF1", ""), entry.get("TIME_SLOT_REF2", ""), text))
        elif entry.tag == "REF_ANNOTATION":
            result.referring.append((key, entry.get("ANNOTATION_REF", ""), text))
    return result


def _slots(root: ElementTree.Element, own: list[_Tier]) -> dict[str, float]:
    """Return time slot -> seconds."""
    known: dict[str, float | None] = {}
    for element in root.iter("TIME_SLOT"):
        value = element.get("TIME_VALUE")
        known[element.attrib["TIME_SLOT_ID"]] = None if value is None else int(value) / 1000
    order = {slot: index for index, slot in enumerate(known)}
    for part in own:
        chain: list[str] = []
        for _, start, end, _ in sorted(part.aligned, key=lambda entry: order[entry[1]]):
            chain += [slot for slot in (start, end) if slot not in chain[-1:]]
        fixed = [index for index, slot in enumerate(chain) if known[slot] is not None]
        for before, after in itertools.pairwise(fixed):
            first, last = known[chain[before]] or 0.0, known[chain[after]] or 0.0
            for index in range(before + 1, after):
                known[chain[index]] = first + (last - first) * (index - before) / (after - before)
    return {slot: value for slot, value in known.items() if value is not None}


def _times(own: list[_Tier], slots: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Return annotation -> (start, end) in seconds."""
    times = {key: (slots[start], slots[end]) for part in own for key, start, end, _ in part.aligned}
    parents = {key: parent for part in own for key, parent, _ in part.referring}
    for key in parents:
        seen, parent = {key}, parents[key]
        while parent in parents and parent not in seen:
            seen.add(parent)
            parent = parents[parent]
        if parent in times:
            times[key] = times[parent]
    return times
