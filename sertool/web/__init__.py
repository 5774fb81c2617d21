"""Wav2Small for the browser: the C engine in WebAssembly with a model's weights inside, its JavaScript, and a page.

engine.wasm is csrc/ compiled by `python build.py web`. It imports nothing, and the weights are a section of its own in
it, so that a model is added without a compiler.
"""

import base64
import json
from importlib.resources import files as resources
from typing import Any

from sertool.bundle import container
from sertool.errors import UsageError
from sertool.features.steps import STEPS
from sertool.look import indices
from sertool.look.pages import asset, page

#: The files of `files`: the page, and what other pages need.
PAGE, WASM, SCRIPT, TYPES = "index.html", "model.wasm", "sertool.js", "sertool.d.ts"
_SECTION = b"sertool"
#: What the page may do besides running itself: WebAssembly, workers, and playing what was dropped on it.
_POLICY = "worker-src blob:; media-src blob:; connect-src 'none'"


def files(weights: bytes) -> dict[str, bytes]:
    """Return file name -> bytes for native weights with their manifest. Raises UsageError without a manifest."""
    _, text = container.unpacked(weights)
    manifest: dict[str, Any] = json.loads(text or "{}")
    if not manifest.get("outputs"):
        raise UsageError("web: these weights have no manifest inside")
    unknown = [entry["step"] for entry in manifest.get("preprocessing", []) if entry["step"] not in STEPS]
    if unknown:
        raise UsageError(f"web: unknown pre-processing step {unknown[0]}")
    wasm = _with_section(resources("sertool.web").joinpath("engine.wasm").read_bytes(), weights)
    script = asset("sertool.web", SCRIPT)
    return {
        PAGE: _page(manifest, wasm, script).encode(),
        WASM: wasm,
        SCRIPT: script.encode(),
        TYPES: asset("sertool.web", TYPES).encode(),
    }


def _page(manifest: dict[str, Any], wasm: bytes, script: str) -> str:
    names = [output["name"] for output in manifest["outputs"]]
    colours = json.dumps(dict(zip(names, indices(names), strict=True)))
    blocks = {
        "wasm": base64.b64encode(wasm).decode(),
        "colours": base64.b64encode(colours.encode()).decode(),
    }
    styles = [asset("sertool.look", "look.css"), asset("sertool.web", "web.css")]
    scripts = [
        script,
        asset("sertool.look", "dom.js"),
        asset("sertool.look", "timeline.js"),
        asset("sertool.web", "web.js"),
    ]
    return page(
        f"sertool: {manifest['name']}",
        asset("sertool.web", "web.html"),
        styles,
        scripts,
        blocks,
        _POLICY,
        scripts_may="'wasm-unsafe-eval' blob:",
    )


def _with_section(wasm: bytes, data: bytes) -> bytes:
    """Add a custom section: the byte 0, its length, and its name and data."""
    name = _leb(len(_SECTION)) + _SECTION
    return wasm + b"\0" + _leb(len(name) + len(data)) + name + data


def _leb(number: int) -> bytes:
    """Return an unsigned number in LEB128."""
    result = bytearray()
    while True:
        low, number = number & 0x7F, number >> 7
        result.append(low | (0x80 if number else 0))
        if not number:
            return bytes(result)
