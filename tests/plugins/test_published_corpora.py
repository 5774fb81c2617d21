"""Corpora in the layouts their owners publish: miniatures, and the rows they hold, written out by hand."""

import shutil
import subprocess
import sys

import pytest

from sertool.corpora import Row, check_speakers_disjoint
from sertool.errors import SertoolError
from sertool.plugins import load_plugins
from sertool.testing import check_corpus


def read(name, root):
    return load_plugins().get("corpora", name).read(root)


def refused(name, root):
    """The one line that says why a folder is not read."""
    with pytest.raises(SertoolError) as caught:
        read(name, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


@pytest.mark.parametrize("name", ["iemocap", "msp-podcast", "crema-d", "ravdess", "emodb"])
def test_a_folder_of_something_else_is_refused_with_the_folder_that_is_meant(name, tmp_path):
    assert "give the folder " in refused(name, tmp_path)
    assert str(tmp_path) in refused(name, tmp_path)


@pytest.mark.parametrize("name", ["iemocap", "msp-podcast", "crema-d", "ravdess", "emodb"])
def test_conformance(name, tmp_path, clip, request):
    fixtures = {"iemocap": "iemocap", "msp-podcast": "msp", "crema-d": "crema_d"}
    if name in fixtures:
        root = request.getfixturevalue(fixtures[name])
    else:
        root = tmp_path / name
        for file in ("Actor_01/03-01-05-02-01-01-01", "wav/03a01Fa"):
            clip(root / f"{file}.wav")
    check_corpus(name, root)


def test_registering_imports_no_reader():
    code = "import sys; from sertool.plugins import load_plugins; load_plugins()\n"
    code += "assert 'sertool_corpora' in sys.modules\n"
    code += "sys.exit(str([name for name in sys.modules if name.startswith('sertool_corpora.')]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"


# IEMOCAP. The woman of session 1 wears the markers in Ses01F_impro01, the man in Ses01M_script01_1.

TITLE = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
IEMOCAP = {
    "1 Ses01F_impro01": "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\n"
    "C-E2:\tNeutral;\t()\nC-F1:\tNeutral;\t(curious \x85 [caf\xe9])\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"
    "[14.8872 - 18.0175]\tSes01F_impro01_M002\tfru\t[1.5000, 4.0000, 4.5000]\nC-E2:\tFrustration;\t()\n\n",
    "1 Ses01M_script01_1": "[100.0000 - 102.5000]\tSes01M_script01_1_F003\texc\t[5.5000, 3.0000, 0.5000]\n",
    "2 Ses02F_impro01": "[0.5000 - 1.0000]\tSes02F_impro01_M000\txxx\t[3.0000, 3.0000, 3.0000]\n",
    "3 Ses03M_impro05a": "[0.5000 - 1.0000]\tSes03M_impro05a_F000\tang\t[1.0000, 5.0000, 5.0000]\n",
    "4 Ses04F_impro01": "[0.5000 - 1.0000]\tSes04F_impro01_F000\tsad\t[2.0000, 2.0000, 2.0000]\n",
    "5 Ses05M_script01_1b": "[0.5000 - 1.0000]\tSes05M_script01_1b_M000\thap\t[4.0000, 4.0000, 4.0000]\n",
}
SPOKEN = (
    "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
    "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M002.wav",
    "Session1/sentences/wav/Ses01M_script01_1/Ses01M_script01_1_F003.wav",
    "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_M000.wav",
    "Session3/sentences/wav/Ses03M_impro05a/Ses03M_impro05a_F000.wav",
    "Session4/sentences/wav/Ses04F_impro01/Ses04F_impro01_F000.wav",
    "Session5/sentences/wav/Ses05M_script01_1b/Ses05M_script01_1b_M000.wav",
)


@pytest.fixture
def iemocap(tmp_path, clip):
    root = tmp_path / "IEMOCAP_full_release"
    for name, text in IEMOCAP.items():
        session, dialogue = name.split()
        put(root / f"Session{session}/dialog/EmoEvaluation/{dialogue}.txt", TITLE + text, "latin-1")
    for name in SPOKEN:
        clip(root / name)
    labels = root / "Session1/dialog/EmoEvaluation"
    put(labels / "._Ses01F_impro01.txt", "[\x00\x05Mac OS X", "latin-1")
    put(labels / "Attribute/Ses01F_impro01_e3_atr.txt", "[not a summary]")
    put(labels / "Categorical/Ses01F_impro01_e2_cat.txt", "Ses01F_impro01_F000 :Neutral state; ()\n")
    return root


def test_iemocap(iemocap):
    def row(number, speaker, emotion, sex, session, duration, arousal, dominance, valence):
        return Row(
            file=iemocap / SPOKEN[number],
            corpus="iemocap",
            speaker=speaker,
            emotion=emotion,
            sex=sex,
            language="en",
            session=session,
            licence="IEMOCAP licence (restricted)",
            duration=duration,
            arousal=arousal,
            dominance=dominance,
            valence=valence,
        )

    assert read("iemocap", iemocap) == [
        row(0, "Ses01F", "neutral", "f", "1", 1.9456, 0.375, 0.375, 0.375),
        row(1, "Ses01M", "frustrated", "m", "1", 3.1303, 0.75, 0.875, 0.125),
        row(2, "Ses01F", "excited", "f", "1", 2.5, 0.5, 0.0, 1.0),  # 5.5 and 0.5 are past the ends of the scale
        row(3, "Ses02M", "", "m", "2", 0.5, 0.5, 0.5, 0.5),
        row(4, "Ses03F", "angry", "f", "3", 0.5, 1.0, 1.0, 0.0),
        row(5, "Ses04F", "sad", "f", "4", 0.5, 0.25, 0.25, 0.25),
        row(6, "Ses05M", "happy", "m", "5", 0.5, 0.75, 0.75, 0.75),
    ]


@pytest.mark.parametrize(
    ("code", "emotion"),
    [
        *(("ang", "angry"), ("hap", "happy"), ("sad", "sad"), ("neu", "neutral"), ("fea", "fearful"), ("xxx", "")),
        *(("dis", "disgust"), ("sur", "surprised"), ("exc", "excited"), ("fru", "frustrated"), ("oth", "other")),
    ],
)
def test_iemocap_emotion_names(iemocap, code, emotion):
    put(
        iemocap / "Session4/dialog/EmoEvaluation/Ses04F_impro01.txt",
        f"[0.5000 - 1.0000]\tSes04F_impro01_F000\t{code}\t[2.0000, 2.0000, 2.0000]\n",
    )
    assert [row.emotion for row in read("iemocap", iemocap) if row.session == "4"] == [emotion]


def test_iemocap_sessions_share_no_speaker(iemocap):
    rows = read("iemocap", iemocap)
    sessions = {session: [row for row in rows if row.session == session] for session in "12345"}
    assert all(sessions.values())
    check_speakers_disjoint(**sessions)
    assert len({row.speaker for row in sessions["1"]}) == 2


@pytest.mark.parametrize(
    "line",
    [
        "[0.5000 - 1.0000]\tSes02F_impro01_M000\tjoy\t[3.0000, 3.0000, 3.0000]",
        "[0.5000 - 1.0000]\tSes02F_impro01_M000\tneu\t[3.0000, 3.0000]",
        "[0.5000 - 1.0000]\tSes02F_impro01_M000\tneu\t[3.0000, high, 3.0000]",
        "[0.5000 1.0000]\tSes02F_impro01_M000\tneu\t[3.0000, 3.0000, 3.0000]",
        "[0.5000 - 1.0000]\tSes02F_impro01_000\tneu\t[3.0000, 3.0000, 3.0000]",
        "[0.5000 - 1.0000]\tSes03F_impro01_M000\tneu\t[3.0000, 3.0000, 3.0000]",
        "[0.5000 - 1.0000]\tSes02F_im",
    ],
)
def test_iemocap_a_line_that_cannot_be_read_is_named(iemocap, line):
    path = iemocap / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt"
    put(path, f"% header\nC-E1:\t\x85;\t()\n{line}\n", "latin-1")
    assert f"{path}, line 3: not '[start - end] utterance" in refused("iemocap", iemocap)


def test_iemocap_what_is_absent_is_named(iemocap):
    (iemocap / SPOKEN[4]).unlink()
    labels = iemocap / "Session3/dialog/EmoEvaluation"
    assert refused("iemocap", iemocap).startswith(
        f"{iemocap / SPOKEN[4]}: no such file, but it is named in {labels} (1 of 1 recordings are missing)"
    )
    shutil.rmtree(iemocap / "Session3")
    assert refused("iemocap", iemocap).startswith(f"{labels / '*.txt'}: no such file; give the folder IEMOCAP_f")
    assert str(iemocap.parent / "Session1") in refused("iemocap", iemocap.parent)


# MSP-Podcast. The first line is one of the release's, with its numbers.

MSP_HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
MSP_LINES = (
    "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1\n",
    "MSP-PODCAST_0009_0001.wav,X,7.0,1.0,4.0,Unknown,Unknown,Train\n",
    "MSP-PODCAST_0002_0039.wav,H,5.5,6.25,4.75,127,Female,Train\n",
    "MSP-PODCAST_0009_0002.wav,C,1.0,7.0,2.5,Unknown,Female,Train\n",
    "MSP-PODCAST_0153_0001.wav,A,6.4,1.6,5.8,9,Male,Development\n",
    "MSP-PODCAST_0500_0001.wav,U,4.0,4.0,4.0,Unknown,Male,Test2\n",
    "MSP-PODCAST_test3_0001.wav,F,4.0,4.0,4.0,2001,Female,Test3\n",
)


@pytest.fixture
def msp(tmp_path, clip):
    root = tmp_path / "MSP-PODCAST-Publish-1.12"
    put(root / "Labels/labels_consensus.csv", MSP_HEADER + "".join(MSP_LINES))
    put(root / "Labels/labels_detailed.csv", "FileName,Worker,EmoClass_Major\n")
    for line in MSP_LINES:
        clip(root / "Audios" / line.split(",")[0])
    clip(root / "Audios/MSP-PODCAST_test3_0002.wav")  # its labels are kept secret
    return root


def relabel(root, *lines):
    put(root / "Labels/labels_consensus.csv", MSP_HEADER + "".join(f"{line}\n" for line in lines))


def test_msp_podcast(msp):
    def row(number, speaker, emotion, sex, split, arousal, dominance, valence):
        return Row(
            file=msp / "Audios" / f"MSP-PODCAST_{number}.wav",
            corpus="msp-podcast",
            speaker=speaker,
            emotion=emotion,
            sex=sex,
            language="en",
            split=split,
            licence="MSP-Podcast licence (restricted)",
            arousal=pytest.approx(arousal),
            dominance=pytest.approx(dominance),
            valence=pytest.approx(valence),
        )

    assert read("msp-podcast", msp) == [
        row("0001_0008", "30", "neutral", "m", "test-1", 0.2, 0.8 / 3, 0.5),
        row("0002_0039", "127", "happy", "f", "train", 0.75, 0.625, 0.875),
        row("0009_0001", "unknown MSP-PODCAST_0009_0001", "", "", "train", 1, 0.5, 0),
        row("0009_0002", "unknown MSP-PODCAST_0009_0002", "contempt", "f", "train", 0, 0.25, 1),
        row("0153_0001", "9", "angry", "m", "val", 0.9, 0.8, 0.1),
        row("0500_0001", "unknown MSP-PODCAST_0500_0001", "surprised", "m", "test-2", 0.5, 0.5, 0.5),
        row("test3_0001", "2001", "fearful", "f", "test-3", 0.5, 0.5, 0.5),
    ]


@pytest.mark.parametrize(
    ("letter", "emotion"),
    [
        *(("A", "angry"), ("S", "sad"), ("H", "happy"), ("U", "surprised"), ("F", "fearful"), ("D", "disgust")),
        *(("C", "contempt"), ("N", "neutral"), ("O", "other"), ("X", "")),
    ],
)
def test_msp_podcast_emotion_names(msp, letter, emotion):
    relabel(msp, f"MSP-PODCAST_0001_0008.wav,{letter},2.2,4.0,2.6,30,Male,Test1")
    assert [row.emotion for row in read("msp-podcast", msp)] == [emotion]


def test_msp_podcast_splits_share_no_speaker_and_the_unknown_are_nobody_in_particular(msp):
    rows = read("msp-podcast", msp)
    splits = {split: [row for row in rows if row.split == split] for split in ("train", "val", "test-1", "test-2")}
    assert all(splits.values())
    check_speakers_disjoint(**splits)
    relabel(
        msp,
        "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Train",
        "MSP-PODCAST_0002_0039.wav,H,5.5,6.25,4.75,30,Male,Development",
    )
    leak = {row.split: [row] for row in read("msp-podcast", msp)}
    with pytest.raises(SertoolError, match="speaker '30' of msp-podcast is in both 'train' and 'val'"):
        check_speakers_disjoint(**leak)


def test_msp_podcast_as_older_releases_spell_it(msp):
    expected = [(row.file.name, row.split, row.emotion) for row in read("msp-podcast", msp)]
    text = (msp / "Labels/labels_consensus.csv").read_text()
    (msp / "Labels/labels_consensus.csv").unlink()
    put(msp / "Labels/labels_concensus.csv", text.replace("Development", "Validation"))
    (msp / "Audios").rename(msp / "Audio")
    rows = read("msp-podcast", msp)
    assert [(row.file.name, row.split, row.emotion) for row in rows] == expected
    assert {row.file.parent for row in rows} == {msp / "Audio"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.wav,Z,2.2,4.0,2.6,30,Male,Test1", "EmoClass is 'Z', not one of A, S, H, U, F, D, C, N, O, X"),
        ("a.wav,N,2.2,4.0,2.6,30,Male,Test9", "Split_Set is 'Test9', not one of Train, Development"),
        ("a.wav,N,2.2,4.0,2.6,30,Male", "Split_Set is '', not one of"),
        ("a.wav,N,2.2,4.0,2.6,30,30,Train", "Gender is '30', not one of Male, Female, Unknown"),
        ("a.wav,N,calm,4.0,2.6,30,Male,Test1", "EmoAct is 'calm', not a number from 1 to 7"),
        ("a.wav,N,2.2,7.5,2.6,30,Male,Test1", "EmoVal is '7.5', not a number from 1 to 7"),
        ("a.wav,N,2.2,4.0,0,30,Male,Test1", "EmoDom is '0', not a number from 1 to 7"),
        ("a.wav,N,2.2,4.0,nan,30,Male,Test1", "EmoDom is 'nan', not a number from 1 to 7"),
        ("a.wav,N,2.2,4.0,2.6,,Male,Test1", "no SpkrID"),
        (",N,2.2,4.0,2.6,30,Male,Test1", "no FileName"),
    ],
)
def test_msp_podcast_a_line_that_cannot_be_read_is_named(msp, line, reason):
    relabel(msp, MSP_LINES[0].strip(), line)
    assert refused("msp-podcast", msp).startswith(f"{msp / 'Labels/labels_consensus.csv'}, line 3: {reason}")


def test_msp_podcast_what_is_absent_is_named(msp):
    labels = msp / "Labels/labels_consensus.csv"
    for number in ("0002_0039", "0001_0008"):
        (msp / f"Audios/MSP-PODCAST_{number}.wav").unlink()
    assert f"no such file, but it is named in {labels} (2 of 7 recordings are missing)" in refused("msp-podcast", msp)
    shutil.rmtree(msp / "Audios")
    assert refused("msp-podcast", msp).startswith(str(msp / "Audios/MSP-PODCAST_0001_0008.wav"))
    put(labels, "FileName,EmoClass,EmoAct,EmoVal,EmoDom,Split_Set\n")
    assert refused("msp-podcast", msp) == f"{labels}: no column Gender, SpkrID"
    labels.write_bytes(b"\xff\xfe")
    assert refused("msp-podcast", msp).startswith(f"{labels}: not a CSV file in UTF-8")
    labels.unlink()
    assert refused("msp-podcast", msp).startswith(f"{labels}: No such file or directory; give the folder that")


# CREMA-D

DEMOGRAPHICS = '"ActorID","Age","Sex","Race","Ethnicity"\n'
DEMOGRAPHICS += '1001,51,"Male","Caucasian","Not Hispanic"\n1040,42,"Male","Caucasian","Not Hispanic"\n'
DEMOGRAPHICS += '1076,25,"Female","Caucasian","Not Hispanic"\n'


@pytest.fixture
def crema_d(tmp_path, clip):
    root = tmp_path / "CREMA-D"
    put(root / "VideoDemographics.csv", DEMOGRAPHICS)
    put(root / "AudioMP3/1001_DFA_ANG_XX.mp3", "")
    names = ("1076_MTI_SAD_XX", "1076_IEO_FEA_HI", "1076_IEO_DIS_MD", "1076_IEO_HAP_LO", "1040_ITH_SAD_X")
    for name in (*names, "1001_TAI_NEU_XX", "1001_DFA_ANG_XX"):
        clip(root / f"AudioWAV/{name}.wav")
    put(root / "AudioWAV/._1001_DFA_ANG_XX.wav", "")
    return root


def test_crema_d(crema_d):
    def row(name, speaker, emotion, intensity, sex):
        file = crema_d / "AudioWAV" / f"{name}.wav"
        labels = {"emotion": emotion, "intensity": intensity, "sex": sex, "language": "en", "licence": "ODbL 1.0"}
        split = "test" if speaker == "1001" else "train"  # the first of every seven actors tests
        return Row(file=file, corpus="crema-d", speaker=speaker, split=split, **labels)

    assert read("crema-d", crema_d) == [  # 1076_MTI_SAD_XX.wav is silent
        row("1001_DFA_ANG_XX", "1001", "angry", "", "m"),
        row("1001_TAI_NEU_XX", "1001", "neutral", "", "m"),
        row("1040_ITH_SAD_X", "1040", "sad", "", "m"),
        row("1076_IEO_DIS_MD", "1076", "disgust", "medium", "f"),
        row("1076_IEO_FEA_HI", "1076", "fearful", "high", "f"),
        row("1076_IEO_HAP_LO", "1076", "happy", "low", "f"),
    ]


@pytest.mark.parametrize("name", ["1001_DFA_JOY_XX", "1001_DFA_ANG_ZZ", "1001_DFA_ANG", "1001_DFA_ANG_XX (1)", "hello"])
def test_crema_d_a_name_that_says_nothing_is_named(crema_d, clip, name):
    path = clip(crema_d / f"AudioWAV/{name}.wav")
    assert refused("crema-d", crema_d).startswith(f"{path}: not a CREMA-D file name")


def test_crema_d_what_is_absent_is_named(crema_d):
    people = crema_d / "VideoDemographics.csv"
    put(people, DEMOGRAPHICS.replace("1040", "1041"))
    clip = crema_d / "AudioWAV/1040_ITH_SAD_X.wav"
    assert refused("crema-d", crema_d) == f"{clip}: actor 1040 is not in {people}"
    put(people, DEMOGRAPHICS.replace("Female", "woman"))
    assert refused("crema-d", crema_d) == f"{people}, line 4: Sex is 'woman', not one of Male, Female"
    put(people, DEMOGRAPHICS.replace("Sex", "Gender"))
    assert refused("crema-d", crema_d) == f"{people}: no column Sex"
    put(people, DEMOGRAPHICS)
    shutil.rmtree(crema_d / "AudioWAV")
    assert refused("crema-d", crema_d).startswith(f"{crema_d / 'AudioWAV/*.wav'}: no such file; give the folder")
    people.unlink()
    assert refused("crema-d", crema_d).startswith(f"{people}: No such file or directory; give the folder CREMA-D")


# RAVDESS

RAVDESS_LABELS = {
    "03-01-01-01-01-01-01": ("01", "neutral", "normal", "m"),
    "03-01-02-02-01-02-01": ("01", "calm", "strong", "m"),
    "03-01-03-01-02-01-02": ("02", "happy", "normal", "f"),
    "03-01-04-01-02-01-02": ("02", "sad", "normal", "f"),
    "03-01-05-02-01-01-12": ("12", "angry", "strong", "f"),
    "03-01-06-01-02-01-12": ("12", "fearful", "normal", "f"),
    "03-01-07-01-01-01-23": ("23", "disgust", "normal", "m"),
    "03-01-08-02-01-01-24": ("24", "surprised", "strong", "f"),
}


def ravdess_at(folder, clip):
    for name in reversed(RAVDESS_LABELS):
        clip(folder / f"Actor_{name[-2:]}/{name}.wav")
    return folder


def ravdess_rows(folder):
    return [
        Row(
            file=folder / f"Actor_{speaker}" / f"{name}.wav",
            corpus="ravdess",
            speaker=speaker,
            emotion=emotion,
            intensity=intensity,
            sex=sex,
            language="en",
            licence="CC BY-NC-SA 4.0",
        )
        for name, (speaker, emotion, intensity, sex) in RAVDESS_LABELS.items()
    ]


def test_ravdess_and_none_of_its_songs_and_films(tmp_path, clip):
    ravdess_at(tmp_path, clip)
    for other in ("03-02-03-01-01-01-12", "01-01-05-02-01-01-12", "02-01-05-02-01-01-12"):
        clip(tmp_path / f"Actor_12/{other}.wav")
    put(tmp_path / "Actor_12/._03-01-05-02-01-01-12.wav", "")
    assert read("ravdess", tmp_path) == ravdess_rows(tmp_path)


def test_ravdess_below_the_archives_name_and_never_twice(tmp_path, clip):
    archive = ravdess_at(tmp_path / "Audio_Speech_Actors_01-24", clip)
    assert read("ravdess", tmp_path) == ravdess_rows(archive)
    ravdess_at(tmp_path, clip)
    assert read("ravdess", tmp_path) == ravdess_rows(tmp_path)


@pytest.mark.parametrize("name", ["03-01-09-01-01-01-01", "03-01-01-01-01-01", "03-01-01-01-01-01-25", "hello"])
def test_ravdess_a_name_that_says_nothing_is_named(tmp_path, clip, name):
    path = clip(tmp_path / f"Actor_01/{name}.wav")
    assert refused("ravdess", tmp_path).startswith(f"{path}: not a RAVDESS file name")


def test_ravdess_songs_alone_are_refused(tmp_path, clip):
    clip(tmp_path / "Actor_12/03-02-03-01-01-01-12.wav")
    assert refused("ravdess", tmp_path).startswith(f"{tmp_path / 'Actor_*/03-01-*.wav'}: no such file, only songs")


# EmoDB

EMODB_LABELS = {
    "03a01Fa": ("03", "happy", "m"),
    "08a02Ab": ("08", "fearful", "f"),
    "09a05Wb": ("09", "angry", "f"),
    "10b03Lb": ("10", "boredom", "m"),
    "11b10Td": ("11", "sad", "m"),
    "12a01Wc": ("12", "angry", "m"),
    "13b09Nc": ("13", "neutral", "f"),
    "14a07Eb": ("14", "disgust", "f"),
    "15a04Ac": ("15", "fearful", "m"),
    "16b02Fb": ("16", "happy", "f"),
}


def test_emodb(tmp_path, clip):
    for name in reversed(EMODB_LABELS):
        clip(tmp_path / f"wav/{name}.wav")
    put(tmp_path / "erkennung.txt", "")
    assert read("emodb", tmp_path) == [
        Row(
            file=tmp_path / f"wav/{name}.wav",
            corpus="emodb",
            speaker=speaker,
            emotion=emotion,
            sex=sex,
            language="de",
            licence="CC0",
        )
        for name, (speaker, emotion, sex) in EMODB_LABELS.items()
    ]


@pytest.mark.parametrize("name", ["04a01Fa", "03a01Xa", "03a1Fa", "03a01F12", "hello"])
def test_emodb_a_name_that_says_nothing_is_named(tmp_path, clip, name):
    path = clip(tmp_path / f"wav/{name}.wav")
    assert refused("emodb", tmp_path).startswith(f"{path}: not an EmoDB file name")
