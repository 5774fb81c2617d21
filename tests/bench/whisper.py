"""sertool's Whisper encoder against transformers', with the published weights.

    python tests/bench/whisper.py FOLDER RECORDING...

FOLDER is openai/whisper-base from the Hugging Face hub (or -tiny, -small with --size). Prints, over the recordings, the
largest difference of the front end from WhisperFeatureExtractor and of each layer's hidden states from WhisperModel,
beside their largest value, and the time of both encoders on one thread.
"""

import argparse
import time
from pathlib import Path

import torch
import transformers
from report import header
from torch.nn.functional import gelu

from sertool import audio
from sertool.plugins import load_plugins


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--size", default="base")
    asked = parser.parse_args()
    header("torch", "transformers")
    torch.set_num_threads(1)
    theirs = transformers.WhisperModel.from_pretrained(asked.folder).encoder.eval()
    extract, count = transformers.WhisperFeatureExtractor(), len(theirs.layers)
    options = {"weights": str(asked.folder), "size": asked.size, "layers": count, "mix": count + 1}
    ours = load_plugins().get("models", "whisper").build(**options).encoder
    worst, largest, seconds = [0.0] * (count + 2), [0.0] * (count + 2), [0.0, 0.0]
    with torch.inference_mode():
        for file in asked.recordings:
            samples = torch.from_numpy(audio.read(file)[: ours.longest])[None]
            mels = torch.from_numpy(extract._torch_extract_fbank_features(samples.numpy()))
            start = time.perf_counter()
            states = hidden(theirs, mels)
            middle = time.perf_counter()
            found = ours(samples)
            seconds[0] += middle - start
            seconds[1] += time.perf_counter() - middle
            pairs = [(ours.features(samples).transpose(1, 2), mels), *zip(found.unbind(dim=2), states, strict=True)]
            for place, (mine, wanted) in enumerate(pairs):
                worst[place] = max(worst[place], float((mine - wanted).abs().max()))
                largest[place] = max(largest[place], float(wanted.abs().max()))
    for name, off, most in zip(["front end", *(f"layer {n}" for n in range(count + 1))], worst, largest, strict=True):
        print(f"{name:<10} off by {off:.1e} at most, values up to {most:.1f}")
    print(f"{len(asked.recordings)} clips: transformers {seconds[0]:.2f} s, with the front end here {seconds[1]:.2f} s")


def hidden(encoder, mels):
    """transformers' states [1, tokens, width] of mels of any length: the convolutions' output and each layer's."""
    x = gelu(encoder.conv2(gelu(encoder.conv1(mels)))).transpose(1, 2)
    states = [x + encoder.embed_positions.weight[: x.shape[1]]]
    for layer in encoder.layers:
        found = layer(states[-1], None)
        states.append(found[0] if isinstance(found, tuple) else found)
    return states


if __name__ == "__main__":
    main()
