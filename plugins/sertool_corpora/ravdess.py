"""RAVDESS as Zenodo publishes its speech: Actor_01 to Actor_24."""

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


def read(root) -> list[Row]:
    """The spoken, audio-only recordings (03-01-...) of Actor_NN/*.wav, by file name; no split is published.

    The Actor_NN folders lie in ROOT, as the archive unpacks, or in ROOT/Audio_Speech_Actors_01-24. Songs and the sound
    of films beside them are passed over. ``emotion`` is what the actor was asked for; actors with odd numbers are men.
    Raises SertoolError naming the path where recordings were looked for, or a file whose name is none of RAVDESS's.

    Source: S. Livingstone and F. Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)",
    PLoS ONE 13 (2018).
    """
    root = Path(root)
    archive = root / "Audio_Speech_Actors_01-24"
    hint = "the folder to name is the one that holds Actor_01 to Actor_24, or Audio_Speech_Actors_01-24 with them"
    # not both: a popular copy holds every recording twice
    folder = archive if archive.is_dir() and not any(root.glob("Actor_*")) else root
    rows = []
    for path in files(folder, "Actor_*/*.wav", hint):
        name = _NAME.fullmatch(path.stem)
        if not name:
            raise SertoolError(f"{path}: not a name of RAVDESS's (03-01-05-02-01-01-12.wav)")
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
        raise SertoolError(f"{folder / 'Actor_*/03-01-*.wav'}: no such file, only songs or films; {hint}")
    return rows
