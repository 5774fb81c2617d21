"""The ONNX files that ship give the same outputs in runtimes that sertool does not use itself."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from sertool import audio, bundle
from sertool.features import steps

pytestmark = pytest.mark.slow("runs other runtimes on every shipped file")

#: What these runtimes may differ by: float32 summed in another order, and 8-bit steps that this tips over.
TOLERANCES = {"fp32": 3e-5, "int8": 6e-3}

RUN_IN_NODE = """
const ort = require("onnxruntime-web"), fs = require("fs"), path = require("path");
const [model, others, ...clips] = process.argv.slice(2);
(async () => {
  ort.env.wasm.numThreads = 1;
  const beside = JSON.parse(others).map((file) => ({ path: path.basename(file), data: fs.readFileSync(file) }));
  const session = await ort.InferenceSession.create(model, { externalData: beside });
  const all = [];
  for (const clip of clips) {
    const raw = fs.readFileSync(clip);
    const samples = new Float32Array(raw.buffer, raw.byteOffset, raw.length / 4);
    const tensor = new ort.Tensor("float32", samples, [1, samples.length]);
    const outputs = await session.run({ waveform: tensor });
    all.push(Array.from(Object.values(outputs)[0].data));
  }
  console.log(JSON.stringify(all));
})();
"""

FILES = [
    (name, variant)
    for name in ("wav2small", "wav2small-emotion", "mobile", "mobile-emotion", "mobile-emotion-free")
    for variant in ("fp32", "int8")
    if variant == "int8" or not name.startswith("mobile")
]


@pytest.fixture(params=FILES, ids=" ".join)
def shipped(request):
    """(model file, files beside it, prepared clips, expected outputs [clips, outputs], tolerance)."""
    name, which = request.param
    found = bundle.read(bundle.bundled_folder() / name)
    (variant,) = [v for v in found.manifest.variants if v.name == which]
    folder, prepare = bundle.bundled_folder() / name, steps.build(found.manifest.preprocessing)
    clips = sorted((folder / bundle.SAMPLES).glob("*.wav"))
    lines = (folder / bundle.SAMPLES / bundle.EXPECTED).read_text().splitlines()[1:]
    expected = {line.split(",")[0]: [float(x) for x in line.split(",")[1:]] for line in lines}
    others = [bundle.bundled_folder() / "shared" / other for other in variant.beside]
    largest = variant.difference["max"] if which == "int8" else 0.0
    prepared = [np.float32(prepare(audio.read(clip))) for clip in clips]
    return folder / variant.file, others, prepared, [expected[c.name] for c in clips], TOLERANCES[which] + largest


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """A folder in which Node finds onnxruntime-web."""
    folder = tmp_path_factory.mktemp("node")
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("needs node and npm")
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "onnxruntime-web@1.30.0"]
    if subprocess.run(install, cwd=folder, capture_output=True, timeout=300).returncode:
        pytest.skip("npm cannot install onnxruntime-web here")
    (folder / "run.js").write_text(RUN_IN_NODE)
    return folder


def test_onnxruntime_web(shipped, node, tmp_path):
    model, others, clips, expected, tolerance = shipped
    for number, samples in enumerate(clips):
        samples.tofile(tmp_path / f"{number}.f32")
    names = [str(tmp_path / f"{number}.f32") for number in range(len(clips))]
    command = ["node", "run.js", str(model), json.dumps([str(other) for other in others]), *names]
    ran = subprocess.run(command, cwd=node, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    np.testing.assert_allclose(json.loads(ran.stdout), expected, atol=tolerance, rtol=0)


def test_openvino(shipped, tmp_path):
    openvino = pytest.importorskip("openvino")
    model, others, clips, expected, tolerance = shipped
    for file in (model, *others):
        shutil.copy(file, tmp_path)
    compiled = openvino.Core().compile_model(str(tmp_path / model.name), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = [compiled([samples[None]])[0][0] for samples in clips]
    np.testing.assert_allclose(outputs, expected, atol=tolerance, rtol=0)
