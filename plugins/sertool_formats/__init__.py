"""Formats of tables and of segments: spreadsheets, subtitles, Praat, ELAN, Audacity, RTTM, Label Studio, Whisper."""

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any

from sertool import Format, hookimpl


def _of(module: str, function: str) -> Callable[..., Any]:
    """Return a function of a module of this package that is imported when it is called."""

    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(import_module(f".{module}", __package__), function)(*arguments, **options)

    return call


#: A format of one recording per file, with one text per segment.
_Annotation = functools.partial(Format, per_recording=True, templated=True)

FORMATS = (
    Format(
        "csv",
        "table with audformat's columns file,start,end; options: dialect=excel",
        (".csv", ".tsv"),
        _of("tables", "Csv"),
        _of("tables", "read"),
    ),
    Format("jsonl", "JSON lines, one object per row", (".jsonl",), _of("tables", "JsonLines")),
    Format("parquet", "table for pandas and Arrow", (".parquet",), _of("parquet", "Parquet"), binary=True),
    Format("xlsx", "workbook for Excel and LibreOffice", (".xlsx",), _of("workbook", "Workbook"), binary=True),
    Format("sqlite", "database, table labels", (".sqlite", ".db"), _of("database", "Database"), binary=True),
    Format(
        "npy",
        "matrix of the outputs for NumPy, with a table beside it",
        (".npy",),
        _of("matrix", "Matrix"),
        binary=True,
    ),
    _Annotation(
        "srt",
        "SubRip subtitles; a line keeps its text and gains its label",
        (".srt",),
        _of("subtitles", "Srt"),
        _of("subtitles", "read_srt"),
    ),
    _Annotation("vtt", "WebVTT subtitles", (".vtt",), _of("subtitles", "Vtt"), _of("subtitles", "read_vtt")),
    _Annotation(
        "textgrid", "Praat, one tier per column", (".TextGrid",), _of("praat", "TextGrid"), _of("praat", "read")
    ),
    _Annotation("eaf", "ELAN, one tier per column", (".eaf",), _of("elan", "Eaf"), _of("elan", "read")),
    _Annotation("audacity", "Audacity's label tracks", (".txt",), _of("audacity", "Labels"), _of("audacity", "read")),
    Format(
        "rttm",
        "NIST's rich transcription time marks, as diarisers write and read",
        (".rttm",),
        _of("nist", "Rttm"),
        _of("nist", "read_rttm"),
        templated=True,
    ),
    Format("ctm", "NIST's time-marked words (input only)", (".ctm",), read=_of("nist", "read_ctm")),
    Format("labelstudio", "pre-annotated tasks for Label Studio", (".json",), _of("labelstudio", "Tasks")),
    Format("whisper", "transcripts of whisper and whisperX (input only)", (".json",), read=_of("whisper", "read")),
)


@hookimpl
def register_formats(register: Callable[[Format], None]) -> None:
    for form in FORMATS:
        register(form)
