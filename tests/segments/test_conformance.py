"""The formats and segmenters that ship pass the checks that plugin authors use."""

import pytest

from sertool.plugins import load_plugins
from sertool.testing import check_format, check_light, check_segmenter


@pytest.mark.parametrize("name", load_plugins().names("formats"))
def test_format_conforms(name, tmp_path):
    check_format(name, tmp_path)


@pytest.mark.parametrize("options", [{}, {"longest_speech_s": 0.5}, {"threshold": 0.9}])
def test_the_detector_conforms(options):
    check_segmenter("vad", **options)


@pytest.mark.parametrize("package", ["sertool_formats", "sertool_segmenters"])
def test_packages_are_light(package):
    check_light(package)
