"""RAVDESS speech in the layout published on Zenodo: Actor_01 to Actor_24."""

import re
from pathlib import Path

from sertool.corpora import Row
from sertool.errors import SertoolError

from .layout import files

EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
INTENSITIES = {"01": "normal", "02": "strong"}
#: Modality, vocal channel, emotion, intensity, statement, repetition, actor.
_NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-0[12]-0[12]-(0[1-9]|1\d|2[0-4])")


def read(root: str | Path) -> list[Row]:
    """Return the audio-only speech recordings (03-01-...) of Actor_NN/*.wav, sorted; no split is published.

    The Actor_NN folders are in ROOT, as in the archive, or in ROOT/Audio_Speech_Actors_01-24. Songs and the audio of
    videos are skipped. ``emotion`` is the emotion the actor was instructed to express; actors with odd numbers are men.
    Raises SertoolError, naming the path, if there are no recordings or a file name does not follow RAVDESS's scheme.

    Source: S. Livingstone and F. Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)",
    PLoS ONE 13 (2018).
    """
    root = Path(root)
    archive = root / "Audio_Speech_Actors_01-24"
    hint = "give the folder that contains Actor_01 to Actor_24, or Audio_Speech_Actors_01-24 with these folders"
    # Not both: a widely used copy contains every recording twice.
    folder = archive if archive.is_dir() and not any(root.glob("Actor_*")) else root
    rows = []
    for path in files(folder, "Actor_*/*.wav", hint):
        name = _NAME.fullmatch(path.stem)
        if not name:
            raise SertoolError(f"{path}: not a RAVDESS file name (03-01-05-02-01-01-12.wav)")
        modality, channel, emotion, intensity, actor = name.groups()
        if (modality, channel) == ("03", "01"):
            rows.append(
                Row(
                    file=path,
                    corpus="ravdess",
                    speaker=actor,
                    emotion=EMOTIONS[emotion],
                    intensity=INTENSITIES[intensity],
                    sex="m" if int(actor) % 2 else "f",
                    language="en",
                    licence="CC BY-NC-SA 4.0",
                )
            )
    if not rows:
        raise SertoolError(f"{folder / 'Actor_*/03-01-*.wav'}: no such file, only songs or videos; {hint}")
    return rows
