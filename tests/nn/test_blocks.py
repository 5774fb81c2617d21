"""The torch building blocks against numpy loops; their frozen constants and mixed precision."""

import numpy as np
import pytest
import torch

from sertool.nn import LogMel, SoftmaxPool, UtteranceNorm


def waveform(batch: int = 2, n: int = 4000) -> torch.Tensor:
    return 0.1 * torch.randn(batch, n, generator=torch.Generator().manual_seed(5)) + 0.05


def test_utterance_norm_is_its_formula_clip_by_clip():
    clips = waveform(3) * torch.tensor([[1.0], [1e-3], [20.0]])
    got = UtteranceNorm()(clips).numpy()
    for row, clip in zip(got, clips.double().numpy(), strict=True):
        x = clip - clip.mean()
        np.testing.assert_allclose(row, x / np.sqrt((x * x).mean() + 1e-7), rtol=1e-5, atol=1e-5)


def test_utterance_norm_keeps_silence_silent():
    assert not UtteranceNorm()(torch.zeros(1, 100)).any()
    assert UtteranceNorm()(torch.full((1, 100), 0.25)).abs().max() < 1e-3


@pytest.mark.parametrize("tokens", [1, 2, 50])
def test_softmax_pool_equals_a_numpy_loop(tokens):
    torch.manual_seed(0)
    pool = SoftmaxPool(7)
    x = torch.randn(3, tokens, 7)
    got = pool(x).detach().numpy()
    weights = {name: value.double().numpy() for name, value in pool.state_dict().items()}
    for b in range(3):
        sof = np.stack([weights["sof.weight"] @ t + weights["sof.bias"] for t in x[b].double().numpy()])
        lin = np.stack([weights["lin.weight"] @ t + weights["lin.bias"] for t in x[b].double().numpy()])
        for c in range(7):
            share = np.exp(sof[:, c]) / np.exp(sof[:, c]).sum()  # over tokens, each channel on its own
            assert got[b, c] == pytest.approx((share * lin[:, c]).sum(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("n_fft", "shortest"), [(64, 33), (144, 73)])
def test_logmel_refuses_too_short_an_input(n_fft, shortest):
    layer = LogMel(n_fft)
    assert layer(torch.zeros(2, shortest)).shape == (2, 1 + shortest // (n_fft // 2), layer.geometry.n_mels)
    with pytest.raises(ValueError, match=f"at least {shortest} samples, got {shortest - 1}"):
        layer(torch.zeros(2, shortest - 1))


@pytest.mark.parametrize("n_fft", [64, 144])
def test_logmel_parameters_are_frozen(n_fft):
    layer = LogMel(n_fft).train()
    parameters = dict(layer.named_parameters())
    assert set(parameters) == {"real", "imaginary", "mel"}
    assert not any(p.requires_grad for p in parameters.values())
    clip = waveform(1).requires_grad_()
    layer(clip).sum().backward()
    assert all(p.grad is None for p in parameters.values())
    assert torch.isfinite(clip.grad).all()
    assert clip.grad.any()


@pytest.mark.parametrize("n_fft", [64, 144])
def test_logmel_is_the_same_in_mixed_precision(n_fft):
    layer, clip = LogMel(n_fft), waveform()
    expected = layer(clip)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (clip @ clip.T).dtype == torch.bfloat16  # it is on
        got = layer(clip)
        assert (clip @ clip.T).dtype == torch.bfloat16  # and on again
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)


@pytest.mark.parametrize("n_fft", [64, 144])
def test_logmel_of_a_clip_does_not_depend_on_its_batch(n_fft):
    layer, clips = LogMel(n_fft), waveform(4)
    loud = clips * torch.tensor([[1.0], [100.0], [0.0], [1e-4]])
    for clip, row in zip(loud, layer(loud), strict=True):
        torch.testing.assert_close(row, layer(clip[None])[0], rtol=0, atol=2e-3)
