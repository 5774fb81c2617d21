"""Folder layouts of labelled audio."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sertool import Corpus, hookimpl

if TYPE_CHECKING:
    from sertool.corpora import Row


def _reader(module: str) -> "Callable[[Path], list[Row]]":
    def read(root: Path) -> "list[Row]":
        rows: list[Row] = import_module(f".{module}", __package__).read(root)
        return rows

    return read


@hookimpl
def register_corpora(register: Callable[[Corpus], None]) -> None:
    register(
        Corpus(
            "manifest", "a folder with manifest.csv: file, speaker, and any of emotion, split, ...", _reader("manifest")
        )
    )
    register(Corpus("iemocap", "IEMOCAP_full_release: Session1 to Session5, with ratings", _reader("iemocap")))
    register(Corpus("msp-podcast", "MSP-Podcast: Labels and Audios, with ratings and splits", _reader("msp_podcast")))
    register(Corpus("crema-d", "CREMA-D: AudioWAV and VideoDemographics.csv", _reader("crema_d")))
    register(Corpus("ravdess", "RAVDESS: the speech of Actor_01 to Actor_24", _reader("ravdess")))
    register(Corpus("emodb", "EmoDB: wav/03a01Fa.wav ...", _reader("emodb")))
