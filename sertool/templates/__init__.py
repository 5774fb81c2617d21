"""Skeletons of plugins: complete packages that install, pass their tests and do something small.

A skeleton consists of the files in any/ and in the folder of its kind. In their text, $name and other fields of
Skeleton are substituted (string.Template); in their paths, PACKAGE, MODULE, NAME and DOT. The suffix .tmpl, which
keeps tools from processing the templates, is removed.
"""

import importlib.util
import re
import string
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import __version__
from ..errors import UsageError
from ..plugins import load_plugins


@dataclass(frozen=True)
class Kind:
    """A kind of plugin: its plural in `sertool plugins`, its dependency, and a command that uses such a plugin."""

    several: str
    requires: str
    use: str


KINDS = {
    "model": Kind("models", "sertool[train]", "sertool train {name} --set data.root=FOLDER"),
    "augmentation": Kind("augmentations", "sertool", "sertool augment IN OUT --with {name}"),
    "exporter": Kind("exporters", "sertool[train]", "sertool export MODEL -o OUT --format {name}"),
    "corpus": Kind("corpora", "sertool", "sertool evaluate MODEL FOLDER --layout {name}"),
    "format": Kind("formats", "sertool", "sertool label FOLDER --format {name} -o OUT"),
    "segmenter": Kind("segmenters", "sertool", "sertool label FOLDER --segmenter {name}"),
    "loss": Kind("losses", "sertool[train]", "sertool train RECIPE --set loss.name={name}"),
    "decoder": Kind("decoders", "sertool", "sertool label FILE.{name}"),
}

#: The name of a distribution (PEP 508), short enough that lines with it are not too long.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,38}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Skeleton:
    """The values for a plugin's templates. ``name`` is what it registers, ``use`` a command that uses it."""

    kind: str
    name: str
    project: str
    package: str
    requires: str
    use: str
    version: str = __version__

    def write(self, folder: Path) -> list[Path]:
        """Write the plugin into a new or empty folder; return the relative paths of its files.

        Raises UsageError if the folder is neither new nor empty.
        """
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise UsageError(f"{folder} exists and is not an empty folder: choose another with -o")
        here, written = Path(__file__).parent, []
        for part in (here / "any", here / self.kind):
            for source in part.rglob("*.tmpl"):
                inside = Path(*map(self._path, source.relative_to(part).with_suffix("").parts))
                text = string.Template(source.read_text(encoding="utf-8")).substitute(asdict(self))
                (folder / inside).parent.mkdir(parents=True, exist_ok=True)
                (folder / inside).write_text(text, encoding="utf-8")
                written.append(inside)
        return sorted(written)

    def _path(self, part: str) -> str:
        module = self.package.removeprefix("sertool_")
        words = {"PACKAGE": self.package, "MODULE": module, "NAME": self.name, "DOT": "."}
        return re.sub("|".join(words), lambda word: words[word[0]], part)


def skeleton(name: str, kind: str) -> Skeleton:
    """Return the skeleton of a new plugin. Raise UsageError if no package can have the name, or if it is taken."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a package name: write 1 to 40 letters or digits, with '-', '_' or '.' between"
        )
    name = _canonical(name).removeprefix("sertool-")
    package = f"sertool_{name.replace('-', '_')}"
    several = KINDS[kind].several
    for plugin in load_plugins().found:
        if name in plugin.registered.get(several, []):
            raise UsageError(f"{several}: {name!r} is registered by plugin {plugin.name!r}; choose another name")
        if _canonical(plugin.name) == name:
            raise UsageError(f"a plugin {plugin.name!r} is already installed ({plugin.source}); choose another name")
    if importlib.util.find_spec(package):
        raise UsageError(f"a package {package!r} is already installed; choose another name")
    return Skeleton(kind, name, f"sertool-{name}", package, KINDS[kind].requires, KINDS[kind].use.format(name=name))


def _canonical(name: str) -> str:
    """Return the normalised name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
