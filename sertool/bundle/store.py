"""Where bundles lie that have a name: those that ship with sertool, and the user's own."""

import os
import sys
from pathlib import Path

from sertool.bundle.folder import MANIFEST
from sertool.errors import BundleError, UsageError


def bundled_folder() -> Path:
    """Where the models that ship with sertool lie."""
    return Path(__file__).parents[1] / "models"


def user_folder() -> Path:
    """Where the user's own bundles lie: SERTOOL_BUNDLES, or sertool/bundles below the user's data folder."""
    if folder := os.environ.get("SERTOOL_BUNDLES"):
        return Path(folder)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home()
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "sertool" / "bundles"


def installed() -> dict[str, Path]:
    """Name -> folder of every bundle that can be named: the user's own before those that ship."""
    found = {}
    for folder in (bundled_folder(), user_folder()):
        try:
            manifests = sorted(folder.glob(f"*/{MANIFEST}"))
        except OSError:
            continue  # a folder that is not ours to read holds nothing for us
        for manifest in manifests:
            found[manifest.parent.name] = manifest.parent
    return found


def find(model: str) -> Path:
    """A name, a bundle folder or a model file to its path; BundleError names what there is instead."""
    if not isinstance(model, (str, os.PathLike)):
        raise UsageError(f"a model is named by a text or a path, not {model!r}")
    model, known = os.fspath(model), installed()
    if model in known:
        return known[model]
    path = Path(model)
    if "\0" not in model and os.path.lexists(path):
        return path
    raise BundleError(f"no model {model!r} (there are: {', '.join(known) or 'none'}; or give a bundle folder or file)")
