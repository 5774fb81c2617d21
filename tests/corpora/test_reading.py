"""What a corpus reader may give, and what is said of one that gives anything else."""

import pytest

from sertool.corpora.reading import rows_of
from sertool.errors import UsageError
from sertool.plugins import load_plugins

PLUGIN = """
import sertool
from pathlib import Path
from sertool.corpora import Row

FILE = Path("a.wav")
GIVEN = {{
    "rows": lambda root: [Row(root / FILE, "c", "s")],
    "generator": lambda root: (Row(root / FILE, "c", "s") for _ in range(2)),
    "none": lambda root: None,
    "dicts": lambda root: [{{"file": FILE}}],
    "texts": lambda root: [Row("a.wav", "c", "s")],
    "speaker": lambda root: [Row(FILE, "c", 7)],
    "valence": lambda root: [Row(FILE, "c", "s", valence="high")],
    "raises": lambda root: [][0],
    "late": lambda root: (Row(FILE, "c", "s") if i == 0 else 1 / 0 for i in range(2)),
    "empty": lambda root: [],
}}

@sertool.hookimpl
def register_corpora(register):
    for name, read in GIVEN.items():
        register(sertool.Corpus(name, "", read))
"""

SAID = {
    "none": "the reader 'none' raised TypeError: 'NoneType' object is not iterable",
    "dicts": "the reader 'dicts' returned dict, not sertool.corpora.Row",
    "texts": "the reader 'texts' returned a row whose file is 'a.wav', not a pathlib.Path",
    "speaker": "the reader 'speaker' returned a.wav with speaker 7",
    "valence": "the reader 'valence' returned a.wav with valence 'high'",
    "raises": "the reader 'raises' raised IndexError: list index out of range",
    "late": "the reader 'late' raised ZeroDivisionError: division by zero",
    "empty": "the reader 'empty' found no recordings",
}


@pytest.fixture
def readers(tmp_path, monkeypatch):
    (tmp_path / "readers.py").write_text(PLUGIN.format())
    monkeypatch.setenv("SERTOOL_PLUGINS_DIR", str(tmp_path))
    load_plugins.cache_clear()
    yield
    load_plugins.cache_clear()


@pytest.mark.parametrize(("name", "number"), [("rows", 1), ("generator", 2)])
def test_rows_may_come_in_any_order_of_things(readers, tmp_path, name, number):
    assert [row.file for row in rows_of(name, tmp_path)] == [tmp_path / "a.wav"] * number


@pytest.mark.parametrize("name", SAID)
def test_a_readers_mistake_is_one_line(readers, tmp_path, command, name):
    with pytest.raises(UsageError) as error:
        rows_of(name, tmp_path)
    assert str(error.value) == f"{tmp_path}: {SAID[name]}"
    code, _, err = command("evaluate", "wav2small", tmp_path, "--layout", name)
    assert (code, err) == (2, f"sertool: {tmp_path}: {SAID[name]}\n")


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_fields_that_are_not_separated_by_commas_are_named(tmp_path, mark):
    (tmp_path / "manifest.csv").write_text(f"file{mark}corpus{mark}speaker\na.wav{mark}c{mark}s\n")
    with pytest.raises(Exception, match=r"fields are separated by .*, but must be separated by commas"):
        rows_of("manifest", tmp_path)
