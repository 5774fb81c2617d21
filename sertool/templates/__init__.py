"""Skeletons of plugins: complete packages that install, pass their tests and do something small.

A skeleton is the files of folder any/ and of the kind's own, texts in which $name and the like are filled in
(string.Template); in their paths PACKAGE, MODULE, NAME and DOT are. The suffix .tmpl, which keeps tools from taking
them for what they will be, goes.
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
    """What a plugin registers: ``several`` as `sertool plugins` says it, what it requires, what it is ``use``d with."""

    several: str
    requires: str
    use: str


KINDS = {
    "model": Kind("models", "sertool[train]", "sertool train {name} --set data.root=FOLDER"),
    "augmentation": Kind("augmentations", "sertool", "sertool augment IN OUT --with {name}"),
    "exporter": Kind("exporters", "sertool[train]", "sertool export MODEL -o OUT --format {name}"),
    "corpus": Kind("corpora", "sertool", "sertool evaluate MODEL FOLDER --layout {name}"),
}

#: A distribution's name (PEP 508), short enough for lines that hold it.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,38}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Skeleton:
    """A plugin to write: what fills its templates. ``name`` is what it registers, ``use`` a command that uses it."""

    kind: str
    name: str
    project: str
    package: str
    requires: str
    use: str
    version: str = __version__

    def write(self, folder: Path) -> list[Path]:
        """Write it into ``folder``, new or empty; the files, relative to it. UsageError if it is neither."""
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise UsageError(f"{folder} is there and no empty folder: choose another with -o")
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
    """The skeleton of a new plugin. UsageError for a name that no package can have, or that is taken."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} names no package: write 1 to 40 letters or digits, with '-', '_' or '.' between")
    name = _canonical(name).removeprefix("sertool-")
    package = f"sertool_{name.replace('-', '_')}"
    several = KINDS[kind].several
    for plugin in load_plugins().found:
        if name in plugin.registered.get(several, []):
            raise UsageError(f"{several}: {name!r} is registered by plugin {plugin.name!r}; choose another name")
        if _canonical(plugin.name) == name:
            raise UsageError(f"a plugin {plugin.name!r} is installed already ({plugin.source}); choose another name")
    if importlib.util.find_spec(package):
        raise UsageError(f"a package {package!r} is installed already; choose another name")
    return Skeleton(kind, name, f"sertool-{name}", package, KINDS[kind].requires, KINDS[kind].use.format(name=name))


def _canonical(name: str) -> str:
    """As PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()
