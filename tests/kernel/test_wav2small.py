"""The engine in C: pushed in pieces as in one, on every instruction set, and what it refuses."""

import numpy as np
import pytest

from sertool.kernel import available_isas
from sertool.kernel.wav2small import Engine
from sertool.testing.clips import sound

LENGTHS = (33, 64, 100, 5_001, 32_000)


@pytest.fixture(scope="module", params=["wav2small", "wav2small-emotion"])
def weights(native_bundle, request):
    return (native_bundle(request.param) / "model.native").read_bytes()


def streamed(engine, clip, sizes):
    """Outputs of a clip that is pushed in pieces of ``sizes``, over and over, in as many passes as it takes."""
    for _ in range(engine.passes):
        at = 0
        for size in np.resize(sizes, len(clip)):
            engine.push(clip[at : at + size])
            at += size
        engine.next()
    return engine.finish()


@pytest.mark.slow("takes long")
@pytest.mark.parametrize("sizes", [[1], [31, 0, 64, 1], [1_000]], ids=str)
def test_however_a_recording_is_cut_the_outputs_have_the_same_bits(weights, sizes):
    engine = Engine(weights)
    for n in LENGTHS[: 4 if sizes == [1] else None]:
        clip = sound(n)
        assert np.array_equal(streamed(engine, clip, sizes), engine.run(clip)), n


@pytest.mark.parametrize("isa", available_isas())
def test_instruction_sets_agree_with_plain_c(weights, isa):
    plain, other = Engine(weights, "plain"), Engine(weights, isa)
    for n in LENGTHS:
        assert np.abs(plain.run(sound(n)) - other.run(sound(n))).max() < 1e-5


def test_working_memory_is_below_512_kb_and_outputs_are_counted(weights):
    engine = Engine(weights)
    assert engine.memory < 512 * 1024
    assert engine.run(sound(100)).shape == (engine.outputs,) in [(3,), (4,)]


def test_engines_over_the_same_weights_do_not_share_a_recording(weights):
    one, other = Engine(weights), Engine(weights)
    clip, wanted = sound(5_000), one.run(sound(5_000))
    one.push(clip)
    assert np.array_equal(other.run(clip), wanted)
    one.next()
    assert np.array_equal(streamed(other, sound(700), [100]), other.run(sound(700)))
    one.reset()
    assert np.array_equal(one.run(clip), wanted)


def test_a_recording_is_whole_in_every_pass(weights):
    engine, clip = Engine(weights), sound(1_000)
    engine.push(clip)
    engine.next()
    with pytest.raises(ValueError, match="sample"):
        engine.push(np.r_[clip, clip])
    engine.reset()
    engine.push(clip)
    engine.next()
    engine.push(clip[:500])
    with pytest.raises(ValueError, match="sample"):
        engine.next()
    engine.reset()
    with pytest.raises(ValueError, match="argument"):
        engine.finish()
    assert np.isfinite(engine.run(clip)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e13])
def test_a_sample_that_is_no_number_and_a_short_recording_are_refused(weights, value):
    engine, wanted = Engine(weights), Engine(weights).run(sound(100))
    bad = sound(100)
    bad[70] = value
    for clip, reason in ((bad, "NaN, infinity"), (sound(32), "sample"), (sound(0), "sample")):
        with pytest.raises(ValueError, match=reason):
            engine.run(clip)
        assert np.array_equal(engine.run(sound(100)), wanted)


def test_what_are_no_weights_is_refused(weights):
    changed = bytearray(weights)
    changed[5_000] ^= 1
    for data in (b"", b"SERNATV1", weights[:-1], bytes(changed)):
        with pytest.raises(ValueError, match="not the weights"):
            Engine(data)
    with pytest.raises(ValueError, match="instruction set 'neon2'"):
        Engine(weights, "neon2")
