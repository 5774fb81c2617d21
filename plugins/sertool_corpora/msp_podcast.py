"""MSP-Podcast as the University of Texas at Dallas hands it out: Labels and Audios side by side."""

from pathlib import Path

from sertool.corpora import Row
from sertool.errors import SertoolError

from .layout import check_recordings, table

EMOTIONS = {
    "A": "angry",
    "S": "sad",
    "H": "happy",
    "U": "surprised",
    "F": "fearful",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
    "O": "other",
    "X": "",  # the judges did not agree
}
#: Release 1.8 says Validation where later ones say Development.
SPLITS = {
    "Train": "train",
    "Development": "val",
    "Validation": "val",
    "Test1": "test-1",
    "Test2": "test-2",
    "Test3": "test-3",
}
SEXES = {"Male": "m", "Female": "f", "Unknown": ""}
RATINGS = {"arousal": "EmoAct", "dominance": "EmoDom", "valence": "EmoVal"}
COLUMNS = {"FileName", "EmoClass", "SpkrID", "Gender", "Split_Set", *RATINGS.values()}


def read(root) -> list[Row]:
    """Every line of Labels/labels_consensus.csv, by file name, with the published splits.

    Older releases' spellings, labels_concensus.csv and Audio, are read too. Ratings are means on a scale of 1 to 7,
    (x - 1) / 6. Recordings without labels (Test3, where they are kept secret) are no rows.

    A speaker that the owners do not know, SpkrID ``Unknown``, is nobody in particular: each such file gets a speaker
    of its own, ``unknown MSP-PODCAST_0001_0008``. One name for all of them would count as a voice that is in several
    splits, and would be drawn and held out as one. So nothing can say whether such a voice is heard in another split;
    the owners have them in the training set. Train, val and the test sets together share no known speaker; the test
    sets share some among each other, as the owners say.

    Raises SertoolError naming the path of labels or of a recording that is absent, or file and line of a label that
    is none of the above.

    Source: the release's readme.txt and the corpus's page, and R. Lotfian and C. Busso, "Building naturalistic
    emotionally balanced speech corpus by retrieving emotional speech from existing podcast recordings", IEEE
    Transactions on Affective Computing 10 (2019).
    """
    root = Path(root)
    labels = _either(root / "Labels", "labels_consensus.csv", "labels_concensus.csv")
    audio = _either(root, "Audios", "Audio")
    hint = "the folder to name is the one that holds Labels and Audios"
    rows = [_row(audio, record, f"{labels}, line {line}") for line, record in table(labels, COLUMNS, hint)]
    check_recordings(rows, labels)
    return sorted(rows, key=lambda row: row.file)


def _either(folder: Path, name: str, older: str) -> Path:
    return folder / older if (folder / older).exists() and not (folder / name).exists() else folder / name


def _row(audio: Path, record: dict, where: str) -> Row:
    file, speaker = record["FileName"], record["SpkrID"]
    if not file or not speaker:
        raise SertoolError(f"{where}: no {'SpkrID' if file else 'FileName'}")
    return Row(
        file=audio / file,
        corpus="msp-podcast",
        speaker=speaker if speaker != "Unknown" else f"unknown {Path(file).stem}",
        emotion=_known(record, "EmoClass", EMOTIONS, where),
        sex=_known(record, "Gender", SEXES, where),
        language="en",
        split=_known(record, "Split_Set", SPLITS, where),
        licence="MSP-Podcast licence (restricted)",
        **{name: _rating(record, column, where) for name, column in RATINGS.items()},
    )


def _known(record: dict, column: str, names: dict[str, str], where: str) -> str:
    try:
        return names[record[column]]
    except KeyError:
        raise SertoolError(f"{where}: {column} is {record[column]!r}, not one of {', '.join(names)}") from None


def _rating(record: dict, column: str, where: str) -> float:
    try:
        value = float(record[column])
    except ValueError:
        value = float("nan")
    if not 1 <= value <= 7:
        raise SertoolError(f"{where}: {column} is {record[column]!r}, not a number from 1 to 7")
    return (value - 1) / 6
