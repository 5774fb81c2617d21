"""The server's OpenAPI document and a page that shows it without a network."""

import html
import json
from typing import Any

from sertool._about import __version__
from sertool.labelling import Labeller
from sertool.look.pages import asset, page

_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def document(labeller: Labeller, secret: bool) -> dict[str, Any]:
    """Return OpenAPI 3.1 for a model; with ``secret``, requests need a token."""
    number = {"type": ["number", "null"]}
    text = {"type": ["string", "null"]}
    columns = {name: text if name == labeller.label_column else number for name in labeller.columns}
    row = {
        "type": "object",
        "required": ["start", "end", *columns, "speech", "error"],
        "properties": {"start": number, "end": number, **columns, "speech": number, "error": text},
    }
    labels = {
        "type": "object",
        "required": ["model", "seconds", "rows", "notes"],
        "properties": {
            "model": {"type": "string"},
            "seconds": {"type": "number"},
            "rows": {"type": "array", "items": row},
            "notes": {"type": "array", "items": {"type": "string"}},
        },
    }

    def query(name: str, description: str, **schema: Any) -> dict[str, Any]:
        return {"name": name, "in": "query", "description": description, "schema": schema}

    def answers(**texts: str) -> dict[str, Any]:
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        return {status.removeprefix("s"): {"description": text, "content": content} for status, text in texts.items()}

    refused = answers(
        s400="A query that cannot be.",
        s408="No byte came for too long.",
        s413="Larger than this server takes.",
        s415="A form; send the file itself.",
        s422="Not audio, damaged, silent, without speech, or too long.",
        s429="Busy: try again after the seconds of Retry-After.",
        **({"s401": "No token, or a wrong one."} if secret else {}),
    )
    parameters = [
        query("by", "What a row is.", type="string", enum=["file", "window", "speech-window"], default="file"),
        query("window", "Seconds of a window.", type="number", minimum=0.1, maximum=60),
        query("hop", "Seconds between windows, at most the window.", type="number", minimum=0.1, maximum=60),
        query("vad", "Whether to skip what is not speech.", type="boolean", default=True),
    ]
    body = {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
    health = {
        "type": "object",
        "required": ["status", "model", "sertool"],
        "properties": {name: {"type": "string"} for name in ("status", "model", "sertool")},
    }
    paths: dict[str, Any] = {
        "/label": {
            "post": {
                "operationId": "label",
                "summary": "Label a recording: the body is the file, in any format that sertool reads.",
                "parameters": parameters,
                "requestBody": body,
                "responses": {
                    "200": {
                        "description": "Its labels.",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Labels"}}},
                    },
                    **refused,
                },
                **({"security": [{"token": []}]} if secret else {}),
            }
        },
        "/health": {
            "get": {
                "operationId": "health",
                "summary": "Whether it is up.",
                "responses": {"200": {"description": "It is.", "content": {"application/json": {"schema": health}}}},
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Counters for Prometheus.",
                "responses": {
                    "200": {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
                },
                **({"security": [{"token": []}]} if secret else {}),
            }
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sertool",
            "version": __version__,
            "description": (
                f"Labels by {labeller.bundle.id}. Live audio: a WebSocket at /stream with the queries rate, channels, "
                "kind, by (window, segment), window and hop; send raw samples as binary messages, get a row as JSON in "
                "each text message; the text message `end` asks for the last row and closes."
            ),
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR, "Labels": labels},
            **({"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if secret else {}),
        },
    }


def described(about: dict[str, Any]) -> str:
    """Return a page about the document."""
    parts = [f"<header><h1>sertool</h1><p>{html.escape(about['info']['description'])}</p></header>\n<main>"]
    for path, methods in about["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<section class='card'><h2>{method.upper()} {html.escape(path)}</h2>")
            parts.append(f"<p>{html.escape(operation['summary'])}</p><ul>")
            for one in operation.get("parameters", ()):
                kind = html.escape(json.dumps(one["schema"]))
                parts.append(f"<li><b>{one['name']}</b>: {html.escape(one['description'])} <code>{kind}</code></li>")
            for status, answer in operation["responses"].items():
                parts.append(f"<li>{status}: {html.escape(answer['description'])}</li>")
            parts.append("</ul></section>")
    parts.append("</main><footer><p><a href='openapi.json'>openapi.json</a></p></footer>")
    return page("sertool", "".join(parts), [asset("sertool.look", "look.css")], [])
