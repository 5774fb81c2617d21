"""Networks without their front end, fed by the C kernel, are the same networks: every student."""

import numpy as np
import pytest
import torch

from sertool.errors import UsageError
from sertool.features.inputs import features
from sertool.nn import frontend
from sertool.plugins import load_plugins

STUDENTS = ["wav2small", "mobilenetv3-small", "mobilenetv4-small", "mobilenetv4-medium", "mobilenetv4-large"]


@pytest.fixture(params=STUDENTS)
def student(request, timm):
    torch.manual_seed(0)
    model = load_plugins().get("models", request.param)
    network = model.build()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        network.train()(0.1 * torch.randn(2, 16_000))  # statistics, without which a deep network's outputs explode
    return model, network.eval()


@pytest.mark.slow("exports networks")
@torch.inference_mode()
def test_students_fed_with_frames_of_the_c_kernel_give_the_same_outputs(student):
    model, network = student
    described = frontend.describe(network)
    convert, behind = features(described, "logmel"), frontend.without(network)
    rng = np.random.default_rng(0)
    for n in (model.shortest, model.shortest + 1, 16_000, 48_017):
        samples = (0.3 + 0.1 * rng.standard_normal(n)).astype(np.float32)
        frames = torch.from_numpy(convert(samples))[None]
        assert frames.shape == (1, 1 + n // described["hop"], described["n_mels"])
        expected = network(torch.from_numpy(samples)[None])
        assert behind(frames).numpy() == pytest.approx(expected.numpy(), abs=1e-4)


@pytest.mark.slow("exports networks")
def test_the_network_itself_is_left_as_it_was(student):
    _, network = student
    before = {name: value.clone() for name, value in network.state_dict().items()}
    frontend.without(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert frontend.describe(network)["name"] == "logmel"


def test_a_front_end_is_described_by_its_sizes():
    wav2small = load_plugins().get("models", "wav2small").build()
    sizes = {"n_fft": 64, "hop": 32, "n_mels": 26}
    assert frontend.describe(wav2small) == {"name": "logmel", "normalise": True, **sizes}
    assert frontend.describe(wav2small.logmel) == {"name": "logmel", "normalise": False, **sizes}
    assert frontend.describe(torch.nn.Sequential(wav2small, wav2small.logmel)) == {
        "name": "logmel",
        "normalise": True,
        **sizes,
    }
    assert frontend.describe(torch.nn.Linear(1, 1)) == {"name": "waveform"}
    both = torch.nn.ModuleList([load_plugins().get("models", "wav2small").build() for _ in range(2)])
    assert frontend.describe(both) == {"name": "waveform"}


def test_what_the_c_kernel_cannot_take_over_is_refused():
    resnet = load_plugins().get("models", "resnet").build()
    for network in (resnet, torch.nn.Linear(1, 1)):
        with pytest.raises(UsageError, match=r"--input logmel: .* has no LogMel that the C front end can compute"):
            frontend.without(network)
    with pytest.raises(ValueError, match="the C front-end has no LogMel of"):
        features(frontend.describe(resnet), "logmel")


def test_examples_have_the_shape_of_the_input():
    described = {"hop": 32, "n_mels": 26}
    assert frontend.example(described, "waveform").shape == (1, 80_000)
    assert frontend.example(described, "logmel").shape == (1, 2_501, 26)
