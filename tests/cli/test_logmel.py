"""`sertool logmel`."""

import numpy as np

from sertool import audio, features


def test_logmel_writes_what_the_kernel_computes_and_draws_it(tmp_path, clip, command):
    path = clip(tmp_path / "a b.wav", 0.5, rate=44_100, channels=2)
    code, out, err = command("logmel", path, "-o", tmp_path / "x.npy", "--plot", tmp_path / "x.png")
    assert (code, err) == (0, "")
    saved = np.load(tmp_path / "x.npy")
    assert np.array_equal(saved, features.logmel(audio.read(path), normalise=True))
    assert f"{saved.shape[0]} frames x 26 mels" in out
    assert (tmp_path / "x.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    code, out, _ = command("logmel", path, "--n-fft", "144", "--raw", "-o", tmp_path / "y.npy")
    assert code == 0
    assert np.array_equal(np.load(tmp_path / "y.npy"), features.logmel(audio.read(path), 144))


def test_logmel_of_a_bad_file_is_one_line(tmp_path, clip, command):
    (tmp_path / "t.wav").write_text("text")
    code, out, err = command("logmel", tmp_path / "t.wav")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "t.wav: cannot be read as audio" in err
    code, _, err = command("logmel", clip(tmp_path / "s.wav", 0.001))
    assert code == 1
    assert "too short: 16 samples, the LogMel needs 33" in err


def test_the_recording_is_not_written_over(tmp_path, clip, command):
    path = clip(tmp_path / "a.wav", 0.5)
    before = path.read_bytes()
    for option in ("-o", "--plot"):
        code, _, err = command("logmel", path, option, path)
        assert code == 2
        assert "is one of the recordings: choose another name" in err
        assert path.read_bytes() == before


def test_an_ending_that_no_picture_has_is_one_line(tmp_path, clip, command):
    code, _, err = command("logmel", clip(tmp_path / "a.wav", 0.5), "--plot", tmp_path / "a.xyz")
    assert (code, err) == (2, f"sertool: cannot draw {tmp_path / 'a.xyz'}: name it .png, .pdf or .svg\n")


def test_a_dollar_in_a_name_begins_no_formula(tmp_path, clip, command):
    path = clip(tmp_path / "$x_{$ \\frac$.wav", 0.5)
    assert command("logmel", path, "--plot", tmp_path / "a.png").code == 0
    assert (tmp_path / "a.png").stat().st_size > 1000
