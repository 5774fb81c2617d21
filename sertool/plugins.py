"""Load plugins, isolate broken ones, and look up registered objects."""

import functools
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, TypeAlias, overload

import pluggy

from sertool import hookspecs
from sertool.errors import UsageError
from sertool.registry import (
    KINDS,
    Augmentation,
    Corpus,
    Decoder,
    Entry,
    Exporter,
    Format,
    Loss,
    Model,
    Segmenter,
    problem,
)


@dataclass
class Plugin:
    """A plugin, what it registered, and if it was skipped, why (``error``). ``manager`` calls its hooks."""

    name: str
    version: str | None
    source: str
    registered: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None
    lost: list[str] = field(default_factory=list)  # one message per name that another plugin registers too
    manager: pluggy.PluginManager | None = None


#: (name, version, source, function that imports the plugin)
_Candidate: TypeAlias = tuple[str, str | None, str, Callable[[], Any]]
_Claims: TypeAlias = list[tuple[Plugin, Entry]]


class _Group(Protocol):
    """The part of click.Group that plugins may change."""

    commands: MutableMapping[str, Any]


class Plugins:
    """All plugins and the objects they registered."""

    def __init__(self) -> None:
        self.found: list[Plugin] = []
        # kind -> name -> claims; two claims to one name are a conflict, which `get` reports.
        self._named: dict[str, dict[str, _Claims]] = {kind: {} for _, kind in KINDS.values()}
        disabled = {name.strip() for name in os.environ.get("SERTOOL_DISABLE_PLUGINS", "").split(",")}
        for name, version, source, load in [*_entry_points(), *_drop_ins()]:
            plugin = Plugin(name, version, source)
            self.found.append(plugin)
            if name in disabled:
                plugin.error = "disabled by SERTOOL_DISABLE_PLUGINS"
            else:
                self._load(plugin, load)
        self._report_conflicts()

    def names(self, kind: str) -> list[str]:
        """Return the names that ``get`` accepts, without those that several plugins registered."""
        return sorted(name for name, claims in self._named[kind].items() if len(claims) == 1)

    @overload
    def get(self, kind: Literal["models"], name: str) -> Model: ...
    @overload
    def get(self, kind: Literal["augmentations"], name: str) -> Augmentation: ...
    @overload
    def get(self, kind: Literal["exporters"], name: str) -> Exporter: ...
    @overload
    def get(self, kind: Literal["corpora"], name: str) -> Corpus: ...
    @overload
    def get(self, kind: Literal["formats"], name: str) -> Format: ...
    @overload
    def get(self, kind: Literal["segmenters"], name: str) -> Segmenter: ...
    @overload
    def get(self, kind: Literal["losses"], name: str) -> Loss: ...
    @overload
    def get(self, kind: Literal["decoders"], name: str) -> Decoder: ...
    @overload
    def get(self, kind: str, name: str) -> Any: ...

    def get(self, kind: str, name: str) -> Any:
        """Return a registered object. Raise UsageError if no plugin or several plugins registered that name."""
        claims = self._named[kind].get(name, [])
        if len(claims) > 1:
            raise UsageError(_conflict(kind, name, claims))
        if not claims:
            known = ", ".join(self.names(kind)) or "none"
            failed = [p.name for p in self.found if p.error]
            hint = f"; skipped plugins: {', '.join(failed)} (see sertool plugins)" if failed else ""
            raise UsageError(f"{kind}: there is no {name!r} (there are: {known}){hint}")
        return claims[0][1]

    def claimed(self, kind: str) -> list[tuple[str, Any]]:
        """Return (name of its plugin, registered object) for each of ``names``, in that order."""
        return [(self._named[kind][name][0][0].name, self._named[kind][name][0][1]) for name in self.names(kind)]

    def add_commands(self, group: _Group) -> None:
        """Let every plugin add its commands to a click group; skip a plugin that fails or redefines a command."""
        for plugin in self.found:
            if plugin.manager is None or "commands" in plugin.registered:
                continue
            before = dict(group.commands)
            try:
                plugin.manager.hook.register_commands(cli=group)
                taken = [name for name, command in before.items() if group.commands.get(name) is not command]
                if taken:
                    raise ValueError(f"command {taken[0]!r} is taken")
                plugin.registered["commands"] = [name for name in group.commands if name not in before]
            except (Exception, SystemExit) as error:
                group.commands.clear()
                group.commands.update(before)
                self._fail(plugin, error)

    def _load(self, plugin: Plugin, load: Callable[[], Any]) -> None:
        # Each plugin has its own manager, because pluggy stops at the first hook that raises.
        manager = pluggy.PluginManager("sertool")
        manager.add_hookspecs(hookspecs)
        staged: list[tuple[str, Entry]] = []
        try:
            manager.register(load(), name=plugin.name)
            manager.check_pending()
            for hook, (kind_class, kind) in KINDS.items():

                def register(
                    thing: Entry, kind_class: type[Entry] = kind_class, kind: str = kind, hook: str = hook
                ) -> None:
                    if not isinstance(thing, kind_class):
                        raise TypeError(f"{hook} takes a sertool.{kind_class.__name__}, not {type(thing).__name__}")
                    if wrong := problem(thing):
                        raise ValueError(wrong)
                    staged.append((kind, thing))

                getattr(manager.hook, hook)(register=register)
        except (Exception, SystemExit) as error:
            self._fail(plugin, error)
            return
        plugin.manager = manager
        for kind, thing in staged:
            plugin.registered.setdefault(kind, []).append(thing.name)
            self._named[kind].setdefault(thing.name, []).append((plugin, thing))

    def _fail(self, plugin: Plugin, error: BaseException) -> None:
        reason = " ".join(str(error).split())
        plugin.error = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        plugin.manager = None
        _warn(f"plugin {plugin.name!r} skipped: {plugin.error}")

    def _report_conflicts(self) -> None:
        for kind, named in self._named.items():
            for name, claims in named.items():
                if len(claims) > 1:
                    message = _conflict(kind, name, claims)
                    _warn(message)
                    for plugin, _ in claims:
                        plugin.lost.append(message)


@functools.cache
def load_plugins() -> Plugins:
    """Find and load every plugin, once per process."""
    return Plugins()


def _entry_points() -> Iterator[_Candidate]:
    for point in sorted(importlib.metadata.entry_points(group="sertool"), key=lambda p: (p.name, p.value)):
        yield point.name, point.dist.version if point.dist else None, point.value, point.load


def _drop_ins() -> Iterator[_Candidate]:
    """Yield the single-file plugins in the folder SERTOOL_PLUGINS_DIR."""
    folder = os.environ.get("SERTOOL_PLUGINS_DIR")
    if not folder:
        return
    if not Path(folder).is_dir():
        _warn(f"SERTOOL_PLUGINS_DIR: {folder} is not a folder")
        return
    for path in sorted(Path(folder).glob("*.py")):
        yield path.stem, None, str(path), functools.partial(_import_file, path)


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"sertool_drop_in_{path.stem}", path)
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _conflict(kind: str, name: str, claims: _Claims) -> str:
    who = " and ".join(repr(plugin.name) for plugin, _ in claims)
    return f"{kind}: {name!r} is registered by {who}; disable one (SERTOOL_DISABLE_PLUGINS)"


def _warn(message: str) -> None:
    print(f"sertool: {message}", file=sys.stderr)
