"""CREMA-D as its repository publishes it: AudioWAV and VideoDemographics.csv."""

import re
from pathlib import Path

from sertool.corpora import Row
from sertool.errors import SertoolError

from .layout import files, table

EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
#: X is XX: one clip, 1040_ITH_SAD_X.wav, was long published so.
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "", "X": ""}
SEXES = {"Male": "m", "Female": "f"}
#: An actor's number modulo 7 -> split.
SPLITS = {0: "test", 6: "val"}
#: "No audio, very short", say the owners.
SILENT = "1076_MTI_SAD_XX"
_NAME = re.compile(rf"(\d{{4}})_[A-Z]{{3}}_({'|'.join(EMOTIONS)})_({'|'.join(LEVELS)})")


def read(root) -> list[Row]:
    """Every clip of AudioWAV, by file name, but the one that its owners know to be silent.

    No split is published, and arXiv 2408.13920 does not say which clips its "test set" has. Here every seventh of the
    91 actors is in "test", the one before in "val", the others in "train".

    ``emotion`` is what the actor was asked for, not what listeners heard (from the voice alone they chose it in four
    cases of ten); ``intensity`` is low, medium, high or "" (not asked for). There are no ratings of arousal, dominance
    or valence. Raises SertoolError naming the path of what is absent, a file whose name is none of CREMA-D's, or an
    actor who is not in the table.

    Source: H. Cao et al., "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset", IEEE Transactions on Affective
    Computing 5 (2014), and the repository's README.
    """
    root = Path(root)
    hint = "the folder to name is CREMA-D, which holds AudioWAV and VideoDemographics.csv"
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
                f"{path}: not a name of CREMA-D's (1001_DFA_ANG_XX.wav: actor, sentence, emotion, level)"
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
