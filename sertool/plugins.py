"""Load plugins, keep a broken one from harming the rest, and look up what they registered."""

import functools
import importlib.metadata
import importlib.util
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pluggy

from sertool import hookspecs
from sertool.errors import UsageError
from sertool.registry import KINDS, problem


@dataclass
class Plugin:
    """One plugin as found: its hooks' manager, what it registered, why it was skipped and what it lost, if so."""

    name: str
    version: str | None
    source: str
    registered: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None
    lost: list[str] = field(default_factory=list)  # names that another plugin registers, too: a line each
    manager: pluggy.PluginManager | None = None


class Plugins:
    """All plugins and the names they registered."""

    def __init__(self):
        self.found: list[Plugin] = []
        # kind -> name -> [(plugin, object)]; two entries under one name are a conflict, reported when asked for.
        self._named = {kind: {} for _, kind in KINDS.values()}
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
        """Names that ``get`` has an object for: those that two plugins registered are left out."""
        return sorted(name for name, claims in self._named[kind].items() if len(claims) == 1)

    def get(self, kind: str, name: str):
        """The registered object; UsageError if nobody, or more than one plugin, registered that name."""
        claims = self._named[kind].get(name, [])
        if len(claims) > 1:
            raise UsageError(_conflict(kind, name, claims))
        if not claims:
            known = ", ".join(self.names(kind)) or "none"
            failed = [p.name for p in self.found if p.error]
            hint = f"; skipped plugins: {', '.join(failed)} (see sertool plugins)" if failed else ""
            raise UsageError(f"{kind}: there is no {name!r} (there are: {known}){hint}")
        return claims[0][1]

    def add_commands(self, group) -> None:
        """Let every plugin add its commands to a click group, each on its own; a taken name is refused."""
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

    def _load(self, plugin: Plugin, load) -> None:
        # A manager of its own for each plugin: pluggy stops calling at the first hook that raises.
        manager = pluggy.PluginManager("sertool")
        manager.add_hookspecs(hookspecs)
        staged = []
        try:
            manager.register(load(), name=plugin.name)
            manager.check_pending()
            for hook, (kind_class, kind) in KINDS.items():

                def register(thing, kind_class=kind_class, kind=kind, hook=hook):
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
    """Find and load every plugin, once a process."""
    return Plugins()


def _entry_points():
    for point in sorted(importlib.metadata.entry_points(group="sertool"), key=lambda p: (p.name, p.value)):
        yield point.name, point.dist.version if point.dist else None, point.value, point.load


def _drop_ins():
    """Single files in the folder SERTOOL_PLUGINS_DIR."""
    folder = os.environ.get("SERTOOL_PLUGINS_DIR")
    if not folder:
        return
    if not Path(folder).is_dir():
        _warn(f"SERTOOL_PLUGINS_DIR: {folder} is not a folder")
        return
    for path in sorted(Path(folder).glob("*.py")):
        yield path.stem, None, str(path), functools.partial(_import_file, path)


def _import_file(path: Path):
    spec = importlib.util.spec_from_file_location(f"sertool_drop_in_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _conflict(kind: str, name: str, claims) -> str:
    who = " and ".join(repr(plugin.name) for plugin, _ in claims)
    return f"{kind}: {name!r} is registered by {who}; disable one (SERTOOL_DISABLE_PLUGINS)"


def _warn(message: str) -> None:
    print(f"sertool: {message}", file=sys.stderr)
