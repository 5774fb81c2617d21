"""Check that a plugin's package imports quickly."""

import json
import subprocess
import sys

from sertool.registry import KINDS
from sertool.testing.faults import require

#: Libraries with import times of tenths of a second or more; they may only be imported on use.
HEAVY = {
    *("torch", "torchaudio", "torchvision", "tensorflow", "jax", "onnx", "onnxruntime", "onnxscript", "transformers"),
    *("timm", "safetensors", "audiomentations", "librosa", "scipy", "sklearn", "pandas", "matplotlib", "numba", "av"),
}

SCRIPT = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
for hook in sys.argv[2:]:
    getattr(module, hook, lambda register: None)(register=lambda thing: None)
print(json.dumps(sorted(sys.modules)))
"""


def check(package: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, package, *KINDS], capture_output=True, text=True)
    require(done.returncode == 0, package, f"importing it fails: {done.stderr.strip().rpartition(chr(10))[2]}")
    heavy = set(json.loads(done.stdout.splitlines()[-1])) & HEAVY
    fault = f"importing it imports {', '.join(sorted(heavy))}: import it in the function that uses it"
    require(not heavy, package, fault)
