"""EmoDB, the Berlin database of emotional speech, as published: wav/03a01Fa.wav."""

import re
from pathlib import Path

from sertool.corpora import Row
from sertool.errors import SertoolError

from .layout import files

#: The letters stand for German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer.
EMOTIONS = {
    "W": "angry",
    "L": "boredom",
    "E": "disgust",
    "A": "fearful",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
SEXES = dict.fromkeys(("03", "10", "11", "12", "15"), "m") | dict.fromkeys(("08", "09", "13", "14", "16"), "f")
#: Speaker, text, emotion, version.
_NAME = re.compile(rf"({'|'.join(SEXES)})[ab]\d\d([{''.join(EMOTIONS)}])[a-z]?")


def read(root) -> list[Row]:
    """Every recording of wav/, by file name; no split is published. ``emotion`` is what the actor was asked for.

    Raises SertoolError naming the path where recordings were looked for, or a file whose name is none of EmoDB's.

    Source: F. Burkhardt et al., "A database of German emotional speech", Interspeech 2005, and the database's page.
    """
    rows = []
    for path in files(Path(root) / "wav", "*.wav", "the folder to name is the one that holds EmoDB's folder wav"):
        name = _NAME.fullmatch(path.stem)
        if not name:
            raise SertoolError(f"{path}: not a name of EmoDB's (03a01Fa.wav: speaker, text, emotion, version)")
        speaker, emotion = name.groups()
        rows.append(
            Row(
                file=path,
                corpus="emodb",
                speaker=speaker,
                emotion=EMOTIONS[emotion],
                sex=SEXES[speaker],
                language="de",
                licence="CC0",
            )
        )
    return rows
