"""EmoDB, the Berlin database of emotional speech, in its published layout: wav/03a01Fa.wav."""

import re
from pathlib import Path

from sertool.corpora import Row
from sertool.errors import SertoolError

from .layout import files

#: By letter in the file name, the initial of a German word: Wut, Langeweile, Ekel, Angst, Freude, Trauer.
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


def read(root: str | Path) -> list[Row]:
    """Return every recording of wav/, sorted by file name; no split is published.

    ``emotion`` is the emotion the actor was instructed to express. Raises SertoolError, naming the path, if there are
    no recordings or a file name does not follow EmoDB's scheme.

    Source: F. Burkhardt et al., "A database of German emotional speech", Interspeech 2005, and the database's page.
    """
    rows = []
    for path in files(Path(root) / "wav", "*.wav", "give the folder that contains EmoDB's folder wav"):
        name = _NAME.fullmatch(path.stem)
        if not name:
            raise SertoolError(f"{path}: not an EmoDB file name (03a01Fa.wav: speaker, text, emotion, version)")
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
