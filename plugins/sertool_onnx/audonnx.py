"""Export a folder for audonnx.load."""

import json
from pathlib import Path

from sertool import Source
from sertool.bundle import METADATA_KEY

from .export import export as export_onnx


def export(source: Source, path: str | Path, metadata: dict[str, str]) -> None:
    """Export like exporter `onnx`, and write model.yaml to the same folder, which audonnx.load then accepts.

    Outputs are named as in the bundle's manifest in ``metadata``; without a manifest, audonnx names them. The file
    contains no version of audonnx, because audonnx would warn about any other version. Raises SertoolError as `onnx`.
    """
    export_onnx(source, path, metadata)
    manifest = json.loads(metadata.get(METADATA_KEY, "{}"))
    labels = [output["name"] for output in manifest.get("outputs", [])] or None
    # JSON strings and lists are valid YAML.
    arguments = {"path": Path(path).name, "labels": labels, "transform": None}
    lines = [f"  {key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in arguments.items()]
    text = "".join(["$audonnx.core.model.Model:\n", *lines])
    Path(path).with_name("model.yaml").write_text(text, encoding="utf-8")
