"""The manifest layout."""

from pathlib import Path

import pytest

from sertool.errors import SertoolError
from sertool.plugins import load_plugins
from sertool.testing import check_corpus, write_clips

HEADER = "file,corpus,speaker,emotion,intensity,sex,language,duration_s,split,licence,arousal\n"


def read(root):
    return load_plugins().get("corpora", "manifest").read(root)


def test_rows_carry_every_column(tmp_path):
    (tmp_path / "manifest.csv").write_text(
        HEADER + "a/ö b.wav,c,7,angry,strong,f,de,1.5,train,CC0,0.75\n", encoding="utf-8"
    )
    (row,) = read(tmp_path)
    assert row.file == Path(tmp_path, "a/ö b.wav")
    assert (row.corpus, row.speaker, row.emotion, row.intensity, row.split) == ("c", "7", "angry", "strong", "train")
    assert (row.duration, row.arousal, row.valence) == (1.5, 0.75, None)


def test_corpus_defaults_to_the_folders_name(tmp_path):
    (tmp_path / "manifest.csv").write_text("file,speaker\nx.wav,1\n")
    assert read(tmp_path)[0].corpus == tmp_path.name


def test_conformance(tmp_path):
    check_corpus("manifest", write_clips(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,emotion\nx,angry\n", "no column speaker"),
        ("file,speaker,arousal\nx,1,high\n", "line 2: arousal is 'high', not a number"),
    ],
)
def test_a_fault_is_named(tmp_path, text, message):
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(SertoolError, match=message):
        read(tmp_path)


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(SertoolError, match=r"manifest\.csv: No such file"):
        read(tmp_path)


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    (tmp_path / "manifest.csv").write_text("file,speaker\nx.wav,1\n", encoding="utf-8-sig")
    assert read(tmp_path)[0].file == tmp_path / "x.wav"


def test_a_manifest_in_another_encoding_is_named(tmp_path):
    (tmp_path / "manifest.csv").write_text("file,speaker\nö.wav,1\n", encoding="latin-1")
    with pytest.raises(SertoolError, match=r"manifest\.csv: not a CSV file in UTF-8"):
        read(tmp_path)
