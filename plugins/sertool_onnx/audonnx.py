"""A folder that audonnx.load reads."""

import json
from pathlib import Path

from sertool import Source
from sertool.bundle import METADATA_KEY

from .export import export as export_onnx


def export(source: Source, path, metadata: dict[str, str]) -> None:
    """As exporter `onnx`, and model.yaml beside it, which audonnx.load reads when it is given their folder.

    Outputs are called as the bundle's manifest in ``metadata`` calls them, or by audonnx where there is none. The file
    names no version of audonnx, which would warn of every other one. Raises SertoolError as `onnx`.
    """
    export_onnx(source, path, metadata)
    manifest = json.loads(metadata.get(METADATA_KEY, "{}"))
    labels = [output["name"] for output in manifest.get("outputs", [])] or None
    # JSON's strings and lists are YAML's.
    arguments = {"path": Path(path).name, "labels": labels, "transform": None}
    lines = [f"  {key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in arguments.items()]
    text = "".join(["$audonnx.core.model.Model:\n", *lines])
    Path(path).with_name("model.yaml").write_text(text, encoding="utf-8")
