"""MSP-Podcast as distributed by the University of Texas at Dallas: folders Labels and Audios."""

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
    "X": "",  # no agreement between the judges
}
#: Release 1.8 uses Validation, later releases Development.
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


def read(root: str | Path) -> list[Row]:
    """Return every line of Labels/labels_consensus.csv, sorted by file name, with the published splits.

    The spellings of older releases, labels_concensus.csv and Audio, are read too. Ratings are means on a scale of 1 to
    7, (x - 1) / 6. Recordings without labels (Test3, whose labels are secret) are not included.

    Each file of an unknown speaker, SpkrID ``Unknown``, gets its own speaker, ``unknown MSP-PODCAST_0001_0008``. One
    name for all of them would count as a single voice that occurs in several splits, and would be sampled and held out
    as one. Therefore it is not known whether such a voice also occurs in another split; the owners have them in the
    training set. Train, val and the test sets together share no known speaker; according to the owners, some speakers
    are in several test sets.

    Raises SertoolError, naming the path, if labels or a recording are missing, and naming file and line if a label is
    invalid.

    Source: the release's readme.txt and the corpus's page; R. Lotfian and C. Busso, "Building naturalistic
    emotionally balanced speech corpus by retrieving emotional speech from existing podcast recordings", IEEE
    Transactions on Affective Computing 10 (2019).
    """
    root = Path(root)
    labels = _either(root / "Labels", "labels_consensus.csv", "labels_concensus.csv")
    audio = _either(root, "Audios", "Audio")
    hint = "give the folder that contains Labels and Audios"
    rows = [_row(audio, record, f"{labels}, line {line}") for line, record in table(labels, COLUMNS, hint)]
    check_recordings(rows, labels)
    return sorted(rows, key=lambda row: row.file)


def _either(folder: Path, name: str, older: str) -> Path:
    return folder / older if (folder / older).exists() and not (folder / name).exists() else folder / name


def _row(audio: Path, record: dict[str, str], where: str) -> Row:
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
        arousal=_rating(record, RATINGS["arousal"], where),
        dominance=_rating(record, RATINGS["dominance"], where),
        valence=_rating(record, RATINGS["valence"], where),
    )


def _known(record: dict[str, str], column: str, names: dict[str, str], where: str) -> str:
    try:
        return names[record[column]]
    except KeyError:
        raise SertoolError(f"{where}: {column} is {record[column]!r}, not one of {', '.join(names)}") from None


def _rating(record: dict[str, str], column: str, where: str) -> float:
    try:
        value = float(record[column])
    except ValueError:
        value = float("nan")
    if not 1 <= value <= 7:
        raise SertoolError(f"{where}: {column} is {record[column]!r}, not a number from 1 to 7")
    return (value - 1) / 6
