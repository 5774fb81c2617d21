"""CREMA-D in the layout of its repository: AudioWAV and VideoDemographics.csv."""

import re
from pathlib import Path

from sertool.corpora import Row
from sertool.errors import SertoolError

from .layout import files, table

EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
#: X stands for XX: one clip was published as 1040_ITH_SAD_X.wav for a long time.
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "", "X": ""}
SEXES = {"Male": "m", "Female": "f"}
#: Actor number modulo 7 -> split.
SPLITS = {0: "test", 6: "val"}
#: "No audio, very short", according to the owners.
SILENT = "1076_MTI_SAD_XX"
_NAME = re.compile(rf"(\d{{4}})_[A-Z]{{3}}_({'|'.join(EMOTIONS)})_({'|'.join(LEVELS)})")


def read(root: str | Path) -> list[Row]:
    """Return every clip of AudioWAV, sorted by file name, except the one that its owners list as silent.

    No split is published, and arXiv 2408.13920 does not say which clips its "test set" contains. Here every seventh of
    the 91 actors is in "test", the one before in "val", the others in "train".

    ``emotion`` is the emotion the actor was instructed to express, not the one listeners perceived (from the voice
    alone they agreed in 40 % of the cases); ``intensity`` is low, medium, high or "" (no instruction). There are no
    ratings of arousal, dominance or valence. Raises SertoolError, naming the path, if a file or folder is missing, a
    file name does not follow CREMA-D's scheme, or an actor is not in the table.

    Source: H. Cao et al., "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset", IEEE Transactions on Affective
    Computing 5 (2014), and the repository's README.
    """
    root = Path(root)
    hint = "give the folder CREMA-D, which contains AudioWAV and VideoDemographics.csv"
    people = root / "VideoDemographics.csv"
    sexes = {}
    for line, record in table(people, {"ActorID", "Sex"}, hint):
        if record["Sex"] not in SEXES:
            raise SertoolError(f"{people}, line {line}: Sex is {record['Sex']!r}, not one of {', '.join(SEXES)}")
        sexes[record["ActorID"]] = SEXES[record["Sex"]]
    rows = []
    for path in files(root / "AudioWAV", "*.wav", hint):
        name = _NAME.fullmatch(path.stem)
        if not name:
            raise SertoolError(
                f"{path}: not a CREMA-D file name (1001_DFA_ANG_XX.wav: actor, sentence, emotion, level)"
            )
        actor, emotion, level = name.groups()
        if actor not in sexes:
            raise SertoolError(f"{path}: actor {actor} is not in {people}")
        if path.stem != SILENT:
            rows.append(
                Row(
                    file=path,
                    corpus="crema-d",
                    speaker=actor,
                    emotion=EMOTIONS[emotion],
                    intensity=LEVELS[level],
                    sex=sexes[actor],
                    split=SPLITS.get(int(actor) % 7, "train"),
                    language="en",
                    licence="ODbL 1.0",
                )
            )
    return rows
