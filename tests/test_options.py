"""NAME:key=value,key=value."""

import pytest

from sertool.errors import UsageError
from sertool.options import named_options


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("low=1,high=2", {"low": 1, "high": 2}),
        ("folder=a, b/c d,low=0.5", {"folder": "a, b/c d", "low": 0.5}),
        ("pitch=[1.5,1.8],tilt=[1,2]", {"pitch": [1.5, 1.8], "tilt": [1, 2]}),
        ('sounds={root="x", corpus="y"},first=1', {"sounds": {"root": "x", "corpus": "y"}, "first": 1}),
        ("pitch=[1,2],folder=a", {"pitch": [1, 2], "folder": "a"}),
        ("", {}),
    ],
)
def test_options_are_toml_or_bare_text(options, expected):
    assert named_options(f"name:{options}") == ("name", expected)


def test_a_name_alone_has_no_options():
    assert named_options("onnx") == ("onnx", {})


def test_what_is_not_key_and_value_is_refused():
    with pytest.raises(UsageError, match="room:x: write NAME:key=value,key=value"):
        named_options("room:x")
