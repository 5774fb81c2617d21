"""Tasks for Label Studio with predictions (its documentation, "Import pre-annotated data")."""

import json
from collections.abc import Iterator
from typing import Any, TextIO

from sertool.segments import Annotated, Table


class Tasks:
    """A JSON list with one task per recording; each row is a region of the audio.

    Names of the labelling configuration: ``<Audio name="audio" value="$audio"/>``, ``<Labels name="emotion"
    toName="audio">`` for classes (``name="speech"`` for speech), ``<Number name="arousal" toName="audio"
    perRegion="true"/>`` for each number and ``<TextArea name="text" toName="audio" perRegion="true"/>`` for given text.
    """

    def __init__(self, stream: TextIO, table: Table) -> None:
        self._stream, self._table, self._first = stream, table, True
        stream.write("[")

    def write(self, recording: Annotated) -> None:
        result: list[dict[str, Any]] = []
        scores = []
        errors = []
        for number, row in enumerate(recording.rows, start=1):
            if row["start"] is None:
                errors.append(row.get("error"))
                continue
            result += self._region(f"r{number}", row, recording.seconds)
            scores.append(self._table.confidence(row))
        prediction: dict[str, Any] = {"model_version": self._table.model, "result": result}
        known = [score for score in scores if score is not None]
        if known:
            prediction["score"] = round(sum(known) / len(known), 6)
        task: dict[str, Any] = {"data": {"audio": recording.file}, "predictions": [prediction]}
        if errors and not result:
            task = {"data": {"audio": recording.file, "error": errors[0]}, "predictions": []}
        self._stream.write(("\n" if self._first else ",\n") + json.dumps(task, ensure_ascii=False))
        self._first = False

    def close(self) -> None:
        self._stream.write("\n]\n")
        self._stream.flush()

    def _region(self, name: str, row: Any, length: float) -> Iterator[dict[str, Any]]:
        channel = row.get("channel")
        place = {"start": row["start"], "end": row["end"], "channel": channel - 1 if isinstance(channel, int) else 0}

        def part(control: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
            return {
                "id": name,
                "from_name": control,
                "to_name": "audio",
                "type": kind,
                "original_length": length,
                "value": place | value,
            }

        label = row.get(self._table.label) if self._table.label else None
        if label:
            yield part(self._table.label, "labels", {"labels": [label]}) | {"score": self._table.confidence(row)}
        elif not self._table.outputs:
            yield part("speech", "labels", {"labels": ["speech"]})
        if not self._table.label:
            for output in self._table.outputs:
                if row.get(output) is not None:
                    yield part(output, "number", {"number": row[output]})
        if row.get("text"):
            yield part("text", "textarea", {"text": [row["text"]]})
