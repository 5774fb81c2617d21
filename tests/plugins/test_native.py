"""Exporters native and native-int8: what the file holds, against torch, and the arithmetic in 8 bits against numpy."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sertool import Source, bundle
from sertool.bundle import METADATA_KEY, container
from sertool.features.logmel import logmel
from sertool.kernel.wav2small import Engine
from sertool.plugins import load_plugins
from sertool.testing.clips import sound
from sertool.testing.models import settle

pytestmark = pytest.mark.usefixtures("one_thread")

CLIPS = [sound(n, level) for n, level in ((8_000, 0.1), (16_001, 0.02), (30_000, 0.3))]
SHAPES = {
    **{f"conv{i}.weight": (3, 3, 13, 13) for i in range(2, 8)},
    **{f"conv{i}.bias": (13,) for i in range(1, 8)},
    **{"network": (4,), "conv1.weight": (3, 3, 13), "mix.weight": (13, 13), "mix.bias": (13,)},
    **{"sof.weight": (169, 169), "lin.weight": (169, 169), "head.weight": (3, 169), "head.bias": (3,)},
}


def build(**options):
    """A Wav2Small with random weights, biases and statistics of its own."""
    torch.manual_seed(3)
    network = load_plugins().get("models", "wav2small").build(**options)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("bias") or (value.ndim == 1 and "logmel" not in name):
                value += 0.3 * torch.randn(value.shape)
    settle(network, 16_000)
    return network.eval()


def write(network, path, exporter="native", clips=CLIPS, **more):
    source = Source(network, torch.zeros(1, 80_000), clips=tuple(torch.from_numpy(clip)[None] for clip in clips))
    load_plugins().get("exporters", exporter).export(replace(source, **more), path, {METADATA_KEY: '{"é": 1}'})
    return path


def tensors(path):
    """Name -> array of a file, read by its description in sertool.h alone."""
    data = path.read_bytes()
    magic, size, count, text, text_bytes, text_sum, own = struct.unpack_from("<8s6I", data)
    assert (magic, size) == (b"SERNATV1", len(data))
    assert data[text:] == '{"é": 1}'.encode()
    assert (text_bytes, text_sum) == (len(data) - text, zlib.crc32(data[text:]))
    assert own == zlib.crc32(data[:28] + data[32 : 32 + 64 * count])
    found, end = {}, 32 + 64 * count
    for i in range(count):
        name, kind, rank, *shape, offset, length, check, zero = struct.unpack_from("<24s10I", data, 32 + 64 * i)
        assert (offset % 64, offset - end < 64, data[end:offset].strip(b"\0"), zero) == (0, True, b"", 0)
        assert zlib.crc32(data[offset : offset + length]) == check
        assert shape[rank:] == [1] * (4 - rank)
        array = np.frombuffer(data, {1: "<f4", 2: "i1", 3: "<i4"}[kind], length // {1: 4, 2: 1, 3: 4}[kind], offset)
        found[name.rstrip(b"\0").decode()] = array.reshape(shape[:rank])
        end = offset + length
    assert end == text
    return found


def test_the_file_is_as_sertool_h_describes_it(tmp_path):
    found = tensors(write(build(), tmp_path / "it"))
    assert {name: array.shape for name, array in found.items()} == SHAPES
    assert found["network"].tolist() == [1, 3, 0, 0]
    read = container.read(tmp_path / "it")
    assert (read.shapes, read.text) == (SHAPES, '{"é": 1}')


@pytest.mark.parametrize(
    ("options", "softmax", "flags"), [({}, False, 0), ({"centre": True, "outputs": 5}, False, 1), ({}, True, 2)]
)
def test_its_tensors_make_the_networks_answers(tmp_path, options, softmax, flags):
    """Batch norm in the convolutions, lin's bias in the head, sof's nowhere: in float64, with torch's own layers."""
    network = build(**options)
    whole = nn.Sequential(network, nn.Softmax(dim=1)) if softmax else network
    found = tensors(write(whole, tmp_path / "it"))
    assert found["network"].tolist() == [1, options.get("outputs", 3), flags, 0]
    t = {name: torch.from_numpy(array.copy()).double() for name, array in found.items()}
    for clip in CLIPS:
        x = torch.from_numpy(clip)[None]
        with torch.inference_mode():
            wanted = whole(x)[0]
            x = network.logmel(network.normalise(x)).double()[:, None]
            x = x - x.mean(dim=2, keepdim=True) if flags & 1 else x
            for i in range(1, 8):
                x = F.max_pool2d(x, 3, 2, 1) if i == 4 else x
                weight = t[f"conv{i}.weight"] if i > 1 else t["conv1.weight"][:, :, None]
                x = F.conv2d(x, weight.permute(3, 2, 0, 1), t[f"conv{i}.bias"], padding=1).relu()
            x = F.conv2d(x, t["mix.weight"].T[:, :, None, None], t["mix.bias"])
            x = x.reshape(x.shape[2], 169)
            pooled = (torch.softmax(x @ t["sof.weight"], dim=0) * (x @ t["lin.weight"])).sum(dim=0)
            outputs = t["head.weight"] @ pooled + t["head.bias"]
        outputs = outputs.softmax(dim=0) if flags & 2 else outputs
        assert (outputs - wanted).abs().max() < 2e-5


def eight_bits(t, clip):
    """The outputs of a file's tensors for a clip, by the formulas of sertool.h, sums over integers exact."""
    rows = logmel(clip, 64, normalise=True)  # [frames, 26]
    if t["network"][2] & 1:
        rows = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    x = windows(rows[:, :, None])[..., 0]  # [frames, 26, 3, 3]
    sums = np.einsum("fmtd,tdo->fmo", x, t["conv1.weight"]) + t["conv1.bias"]
    x = unsigned(sums)
    for i in range(2, 8):
        if i == 4:
            x = windows(x)[::2, ::2].max(axis=(2, 3))
        sums = np.einsum("fmtdi,otdi->fmo", windows(x), t[f"conv{i}.weight"].astype(np.int64))
        x = unsigned(sums.astype(np.float32) * t[f"conv{i}.scale"] + t[f"conv{i}.bias"])
    sums = (x @ t["mix.weight"].astype(np.int64).T).astype(np.float32) * t["mix.scale"] + t["mix.bias"]
    x = np.trunc(np.clip(sums, -127, 127) + np.copysign(np.float32(0.5), sums)).astype(np.int64)  # [tokens, 13, 13]
    x = x.transpose(2, 0, 1).reshape(len(x), 169)
    logits, values = ((x @ t[f"{name}.weight"].astype(np.int64).T) * t[f"{name}.scale"] for name in ("sof", "lin"))
    weights = np.exp(logits - logits.max(axis=0), dtype=np.float64)
    return t["head.weight"] @ ((weights * values).sum(axis=0) / weights.sum(axis=0)) + t["head.bias"]


def windows(x):
    """[frames, mels, channels] to what each output of a 3x3 convolution sees: [frames, mels, 3, 3, channels]."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1)).transpose(0, 1, 3, 4, 2)


def unsigned(x):
    return np.trunc(np.clip(x, 0, 255) + np.float32(0.5)).astype(np.int64)


@pytest.mark.slow("builds, exports or trains large networks")
@pytest.mark.parametrize("centre", [False, True])
def test_the_engine_computes_in_8_bits_as_numpy_does(tmp_path, centre):
    """To 2e-3: the first layer's sums in another order may round to another step."""
    path = write(build(centre=centre), tmp_path / "it", "native-int8")
    found = tensors(path)
    assert found["network"].tolist() == [1, 3, 4 + centre, 0]
    assert {name for name, array in found.items() if array.dtype == np.int8} == {
        *(f"conv{i}.weight" for i in range(2, 8)),
        *("mix.weight", "sof.weight", "lin.weight"),
    }
    for isa in ("plain", "best"):
        engine = Engine(path.read_bytes(), isa)
        for clip in [*CLIPS, sound(33), sound(1_000)]:
            assert np.abs(engine.run(clip) - eight_bits(found, clip)).max() < 2e-3


def test_weights_use_the_range_and_are_rounded_for_the_clips(tmp_path):
    network = build()
    found = tensors(write(network, tmp_path / "it", "native-int8"))
    for name, array in found.items():
        if array.dtype == np.int8:
            assert np.abs(array.reshape(len(array), -1)).astype(int).max(axis=1).min() >= 120, name
    weight = network.pool.lin.weight.detach().double().numpy()
    off = found["lin.weight"] - 127 * weight / np.abs(weight).max(axis=1, keepdims=True)
    assert 0.5 < np.abs(off).max() < 60  # some are not the nearest
    engine = Engine((tmp_path / "it").read_bytes())
    for clip in CLIPS:
        with torch.inference_mode():
            wanted = network(torch.from_numpy(clip)[None])[0].numpy()
        assert np.abs(engine.run(clip) - wanted).max() < 0.03


@pytest.mark.parametrize("softmax", [False, True])
def test_the_mean_error_on_the_clips_is_in_the_last_bias(tmp_path, softmax):
    network = build()
    whole = nn.Sequential(network, nn.Softmax(dim=1)) if softmax else network
    data = write(whole, tmp_path / "it", "native-int8").read_bytes()
    clips = [torch.from_numpy(clip)[None] for clip in CLIPS]
    with torch.inference_mode():
        wanted = np.stack([network(clip)[0].numpy() for clip in clips])
    if softmax:  # an engine that gives what comes before it has another flag, and sum
        write(network, tmp_path / "plain", "native-int8")
        assert np.array_equal(tensors(tmp_path / "it")["head.bias"], tensors(tmp_path / "plain")["head.bias"])
        data = (tmp_path / "plain").read_bytes()
    found = np.stack([Engine(data).run(clip) for clip in CLIPS])
    assert np.abs((found - wanted).mean(axis=0)).max() < 1e-4 < np.abs(found - wanted).max()


def test_activations_have_headroom_above_the_clips(tmp_path):
    """conv1's outputs are the activations of the first ReLU in levels."""
    network = build()
    found = tensors(write(network, tmp_path / "it", "native-int8"))
    largest = np.zeros(13)
    for clip in CLIPS:
        x = np.einsum(
            "fmtd,tdo->fmo", windows(logmel(clip, 64, normalise=True)[:, :, None])[..., 0], found["conv1.weight"]
        )
        largest = np.maximum(largest, (x + found["conv1.bias"]).max(axis=(0, 1)))
    assert np.allclose(largest, 255 / 1.15, rtol=1e-3)


class Other(nn.Module):
    def forward(self, waveform):
        return waveform[:, :3]


def changed(how):
    """A Wav2Small that is not quite one."""
    network = build()
    how(network)
    return network


@pytest.mark.parametrize("exporter", ["native", "native-int8"])
@pytest.mark.parametrize(
    "network",
    [
        Other,
        lambda: nn.Sequential(build(), nn.Sigmoid()),
        lambda: nn.Sequential(build(), nn.Softmax(dim=0)),
        lambda: build(outputs=17),
        lambda: changed(lambda n: setattr(n, "mix", nn.Identity())),
        lambda: changed(lambda n: setattr(n, "shrink", nn.MaxPool2d(3, 2, 1, ceil_mode=True))),
        lambda: changed(lambda n: n.fine.append(n.fine[2])),
        lambda: changed(lambda n: setattr(n.coarse[0], "2", nn.LeakyReLU())),
        lambda: changed(lambda n: setattr(n.coarse[1][0], "dilation", (2, 2))),
        lambda: changed(lambda n: delattr(n, "centre")),
    ],
)
def test_another_network_is_refused(tmp_path, refused, exporter, network):
    with refused(f"{exporter}: only Wav2Small"):
        write(network().eval(), tmp_path / "it", exporter)
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize("exporter", ["native", "native-int8"])
def test_logmel_frames_are_refused(tmp_path, refused, exporter):
    with refused(f"{exporter}: the input is the waveform"):
        write(build(), tmp_path / "it", exporter, input="logmel")


def test_eight_bits_need_recordings(tmp_path, refused):
    with refused("native-int8: needs recordings to calibrate with (--calibrate DIR)"):
        write(build(), tmp_path / "it", "native-int8", clips=[])


def test_an_option_that_is_none_is_refused(refused):
    from sertool.exporting import variants

    with refused("native:bits=4: got an unexpected keyword argument 'bits'; native is Wav2Small"):
        outputs, frontend = [bundle.Output("arousal")], {"name": "waveform"}
        manifest = bundle.Manifest("it", "1", "it", "wav2small", "dimensional", outputs, frontend, 33)
        entry = bundle.Variant("native", "model.native")
        variants.export(build(), variants.parse("native:bits=4"), None, manifest, entry, [])
