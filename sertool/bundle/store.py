"""Find bundles by name: those that ship with sertool, and the user's own."""

import os
import sys
from pathlib import Path

from sertool.bundle.folder import MANIFEST
from sertool.errors import BundleError, UsageError


def bundled_folder() -> Path:
    """Return the folder of the models that ship with sertool."""
    return Path(__file__).parents[1] / "models"


def user_folder() -> Path:
    """Return the folder of the user's bundles: SERTOOL_BUNDLES, or sertool/bundles in the user's data folder."""
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
    """Return name -> folder of every bundle; the user's own take precedence over bundled ones."""
    bundles = {}
    for folder in (bundled_folder(), user_folder()):
        try:
            manifests = sorted(folder.glob(f"*/{MANIFEST}"))
        except OSError:
            continue  # no permission to read the folder
        for manifest in manifests:
            bundles[manifest.parent.name] = manifest.parent
    return bundles


def find(model: str) -> Path:
    """Return the path of a name, a bundle folder or a model file; raise BundleError, which lists the known names."""
    if not isinstance(model, (str, os.PathLike)):
        raise UsageError(f"a model must be a string or a path, not {model!r}")
    model, known = os.fspath(model), installed()
    if model in known:
        return known[model]
    path = Path(model)
    if "\0" not in model and os.path.lexists(path):
        return path
    raise BundleError(f"no model {model!r} (there are: {', '.join(known) or 'none'}; or give a bundle folder or file)")
