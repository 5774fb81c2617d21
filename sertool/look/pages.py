"""Self-contained HTML pages: styles, scripts and data inside, and a policy that forbids everything else."""

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from sertool.look import COLOURS, ON_DARK


def asset(package: str, name: str) -> str:
    """Return the text of a file of a package."""
    return (files(package) / name).read_text(encoding="utf-8")


def page(
    title: str,
    body: str,
    styles: Sequence[str],
    scripts: Sequence[str],
    blocks: Mapping[str, str] | None = None,
    policy: str = "",
    scripts_may: str = "",
) -> str:
    """Return a page.

    ``title`` is plain text, ``body`` markup without user data, ``scripts`` run in order. ``blocks``: id -> text in
    base64, which scripts can read. The page's policy allows these scripts and styles, and more with the rules of
    ``policy`` and the sources of ``scripts_may``; it has no access to the network.
    """
    styles = [*styles, _palette()]
    scripts = ["".join(scripts)]
    allowed = {
        "script-src": " ".join([*map(_hash, scripts), *([scripts_may] if scripts_may else [])]),
        "style-src": " ".join(map(_hash, styles)),
    }
    rules = ["default-src 'none'", *(f"{kind} {hashes}" for kind, hashes in allowed.items())]
    rules += ["img-src data: blob:", "base-uri 'none'", "form-action 'none'", *([policy] if policy else [])]
    for script in scripts:
        assert "</script" not in script.lower()
    inner = [f'<script type="text/plain" id="{name}">{text}</script>\n' for name, text in (blocks or {}).items()]
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape("; ".join(rules))}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n',
            f"<title>{html.escape(title)}</title>\n",
            *(f"<style>{style}</style>\n" for style in styles),
            f"</head>\n<body>\n{body}\n",
            *inner,
            *(f"<script>{script}</script>\n" for script in scripts),
            "</body>\n</html>\n",
        ]
    )


def packed(data: Any) -> str:
    """Return data as JSON, compressed, in base64: whatever is in it cannot become markup."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 9, mtime=0)).decode()


def _palette() -> str:
    light, dark = ("".join(f"--c{i}:{c};" for i, c in enumerate(colours)) for colours in (COLOURS, ON_DARK))
    return f':root{{{light}}}:root[data-theme="dark"]{{{dark}}}'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
