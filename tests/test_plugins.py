"""Plugins: what they register arrives, what breaks them stays with them."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pluggy
import pytest

import sertool
from sertool import cli, hookspecs
from sertool.errors import UsageError
from sertool.plugins import Plugins
from sertool.registry import KINDS

GOOD = """
import click, sertool

@sertool.hookimpl
def register_models(register):
    register(sertool.Model("toy", "a toy", lambda: "network", ("arousal",), 33))

@sertool.hookimpl
def register_augmentations(register):
    register(sertool.Augmentation("hum", "mains hum", lambda: "change"))

@sertool.hookimpl
def register_exporters(register):
    register(sertool.Exporter("flat", "a flat file", lambda source, path, metadata: "exported"))

@sertool.hookimpl
def register_corpora(register):
    register(sertool.Corpus("mine", "my layout", lambda root: ["row"]))

@sertool.hookimpl
def register_formats(register):
    register(sertool.Format("plain", "plain text", (".plain",), read=lambda path: ["segment"]))

@sertool.hookimpl
def register_segmenters(register):
    register(sertool.Segmenter("halves", "two halves", lambda: "segment"))

@sertool.hookimpl
def register_losses(register):
    register(sertool.Loss("square", "the squared error", "dimensional", lambda: "loss"))

@sertool.hookimpl
def register_decoders(register):
    register(sertool.Decoder("tape", "my recorder", (".tape",), lambda head, path: True, lambda path: ["block"]))

@sertool.hookimpl
def register_commands(cli):
    @cli.command()
    def greet():
        "Say hello."
        click.echo("hello from a plugin")
"""

# Each harmful file, and what must be said about it.
BROKEN = {
    "raises": ("raise RuntimeError('no such\\nlibrary')", "RuntimeError: no such library"),
    "imports": ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
    "syntax": ("def (", "SyntaxError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "in_hook": (
        "import sertool\n@sertool.hookimpl\ndef register_models(register):\n    raise KeyError('weights')\n",
        "KeyError: 'weights'",
    ),
    "half_way": (
        "import sertool\n@sertool.hookimpl\ndef register_models(register):\n"
        "    register(sertool.Model('half', 'h', None, ('a',), 1))\n    raise ValueError('then this')\n",
        "ValueError: then this",
    ),
    "misspelt": ("import sertool\n@sertool.hookimpl\ndef register_modles(register):\n    pass\n", "register_modles"),
    "argument": ("import sertool\n@sertool.hookimpl\ndef register_models(registry):\n    pass\n", "registry"),
    "wrong_type": (
        "import sertool\n@sertool.hookimpl\ndef register_models(register):\n    register('wav2large')\n",
        "register_models takes a sertool.Model, not str",
    ),
    "wrong_hook": (
        "import sertool\n@sertool.hookimpl\ndef register_exporters(register):\n"
        "    register(sertool.Corpus('c', 'c', None))\n",
        "register_exporters takes a sertool.Exporter, not Corpus",
    ),
}
FIRST_PARTY = {"augment", "corpora", "onnx", "wav2small"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """folder(name=source, ...): a SERTOOL_PLUGINS_DIR that holds these files."""

    def make(**sources):
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.setenv("SERTOOL_PLUGINS_DIR", str(tmp_path))
        return tmp_path

    return make


def group():
    """A group of the kind behind `sertool`, as no test has left it."""
    return cli.LazyGroup("sertool")


def model(name):
    return (
        "import sertool\n@sertool.hookimpl\ndef register_models(register):\n"
        f"    register(sertool.Model({name!r}, 'a model', None, ('arousal',), 33))\n"
    )


def test_register_models_registers_a_model(folder):
    folder(good=GOOD)
    found = Plugins()
    assert "toy" in found.names("models")
    assert found.get("models", "toy").build() == "network"


def test_register_augmentations_registers_an_augmentation(folder):
    folder(good=GOOD)
    found = Plugins()
    assert "hum" in found.names("augmentations")
    assert found.get("augmentations", "hum").build() == "change"


def test_register_exporters_registers_an_exporter(folder):
    folder(good=GOOD)
    found = Plugins()
    assert "flat" in found.names("exporters")
    assert found.get("exporters", "flat").export(None, None, {}) == "exported"


def test_register_corpora_registers_a_corpus(folder):
    folder(good=GOOD)
    found = Plugins()
    assert "mine" in found.names("corpora")
    assert found.get("corpora", "mine").read(Path()) == ["row"]


def test_register_formats_registers_a_format(folder):
    folder(good=GOOD)
    found = Plugins()
    assert {"plain", "csv", "srt"} <= set(found.names("formats"))
    assert found.get("formats", "plain").read(Path()) == ["segment"]


def test_register_segmenters_registers_a_segmenter(folder):
    folder(good=GOOD)
    found = Plugins()
    assert {"halves", "vad", "pyannote"} <= set(found.names("segmenters"))
    assert found.get("segmenters", "halves").build() == "segment"


def test_register_losses_registers_a_loss(folder):
    folder(good=GOOD)
    found = Plugins()
    assert "square" in found.names("losses")
    assert found.get("losses", "square").build() == "loss"


def test_register_decoders_registers_a_decoder(folder):
    folder(good=GOOD)
    found = Plugins()
    assert "tape" in found.names("decoders")
    assert found.get("decoders", "tape").blocks(Path()) == ["block"]
    assert [(plugin, thing.name) for plugin, thing in found.claimed("decoders")] == [("good", "tape")]


def test_register_commands_adds_a_command(folder):
    folder(good=GOOD)
    found, commands = Plugins(), group()
    found.add_commands(commands)
    found.add_commands(commands)  # as often as help is asked for
    assert list(commands.commands) == ["greet"]
    (plugin,) = [plugin for plugin in found.found if plugin.name == "good"]
    assert plugin.error is None
    assert plugin.registered == {
        "models": ["toy"],
        "augmentations": ["hum"],
        "exporters": ["flat"],
        "corpora": ["mine"],
        "formats": ["plain"],
        "segmenters": ["halves"],
        "losses": ["square"],
        "decoders": ["tape"],
        "commands": ["greet"],
    }


def test_every_hook_has_a_test_named_after_it_and_a_plugin_that_implements_it():
    manager = pluggy.PluginManager("sertool")
    manager.add_hookspecs(hookspecs)
    hooks = [name for name in vars(hookspecs) if manager.parse_hookspec_opts(hookspecs, name) is not None]
    assert len(hooks) >= 7
    tests = [name for name in globals() if name.startswith("test_")]
    for hook in hooks:
        assert any(name.startswith(f"test_{hook}_") for name in tests), hook
        assert f"def {hook}(" in GOOD, hook


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_reported_once_with_its_name_and_reason_and_the_others_load(folder, capsys, name):
    source, reason = BROKEN[name]
    folder(**{name: source, "a_before": model("before"), "z_after": model("after")})
    found = Plugins()
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith(f"sertool: plugin '{name}' skipped: ")
    assert reason in err
    assert {plugin.name for plugin in found.found if plugin.error} == {name}
    assert {"before", "after", "wav2small"} <= set(found.names("models"))
    assert "half" not in found.names("models")


WRONG = {
    "sertool.Model(5, '', len, ('a',), 1)": "Model: the name 5 must be letters",
    "sertool.Model('a b', '', len, ('a',), 1)": "Model: the name 'a b' must be letters",
    "sertool.Model('m', None, len, ('a',), 1)": "Model 'm': summary must be a string, not NoneType",
    "sertool.Model('m', '', 'len', ('a',), 1)": "Model 'm': build must be a function, not str",
    "sertool.Model('m', '', len, 'valence', 1)": "Model 'm': outputs must be a tuple of names",
    "sertool.Model('m', '', len, ('a', 'a'), 1)": "Model 'm': outputs: a, a: duplicate name",
    "sertool.Model('m', '', len, ('speech',), 1)": "Model 'm': outputs: 'speech' is a column of the table of labels",
    "sertool.Model('m', '', len, ('a',), -1)": "Model 'm': shortest must be a number of samples, at least 1, not -1",
    "sertool.Model('m', '', len, ('a',), 9, longest=3)": "Model 'm': longest must be a number of samples",
    "sertool.Model('m', '', len, ('a',), 1, task='categorial')": "Model 'm': task must be dimensional or categorical",
    "sertool.Model('m', '', len, ('a',), 1, recipes='m.toml')": "Model 'm': recipes must be a tuple of paths",
    "sertool.Model('m', '', len, ('a',), 1, published=3)": "Model 'm': published must be a dict, not int",
    "sertool.Exporter('e', '', len, tolerance='x')": "Exporter 'e': tolerance must be a number, at least 0, not 'x'",
    "sertool.Exporter('e', '', len, runtime='tflite')": "Exporter 'e': runtime must be one of onnx, native",
    "sertool.Augmentation('x', '', 3)": "Augmentation 'x': build must be a function, not int",
    "sertool.Corpus('c', '', [])": "Corpus 'c': read must be a function, not list",
    "sertool.Format('f', '', '.f', open=len)": "Format 'f': extensions must be a tuple of extensions",
    "sertool.Format('f', '', ('f',), open=len)": "Format 'f': extensions must be a tuple of extensions",
    "sertool.Format('f', '', ('.f',))": "Format 'f': it has neither open nor read",
    "sertool.Format('f', '', ('.f',), open=3)": "Format 'f': open must be a function, not int",
    "sertool.Format('f', '', ('.f',), len, per_recording=True, binary=True)": "Format 'f': a format that is per_record",
    "sertool.Segmenter('s', '', {})": "Segmenter 's': build must be a function, not dict",
    "sertool.Loss('l', '', 'ordinal', len)": "Loss 'l': task must be dimensional or categorical, not 'ordinal'",
    "sertool.Loss('l', '', 'dimensional', 3)": "Loss 'l': build must be a function, not int",
    "sertool.Decoder('d', '', ('.d',), 3, len)": "Decoder 'd': recognises must be a function, not int",
    "sertool.Decoder('d', '', ('.d',), len, None)": "Decoder 'd': blocks must be a function, not NoneType",
    "sertool.Decoder('d', '', (), len, len)": "Decoder 'd': extensions must be a tuple of lower-case endings",
    "sertool.Decoder('d', '', '.d', len, len)": "Decoder 'd': extensions must be a tuple of lower-case endings",
    "sertool.Decoder('d', '', ('.d', 'e'), len, len)": "Decoder 'd': extensions must be a tuple of lower-case endings",
    "sertool.Decoder('d', '', ('.D',), len, len)": "Decoder 'd': extensions must be a tuple of lower-case endings",
}


@pytest.mark.parametrize("thing", WRONG)
def test_what_is_registered_wrong_is_one_line_and_the_others_load(folder, capsys, thing):
    kind = re.match(r"sertool\.(\w+)", thing)[1]
    hook = next(several for registered, several in KINDS.values() if registered.__name__ == kind)
    folder(
        good=GOOD, wrong=f"import sertool\n@sertool.hookimpl\ndef register_{hook}(register):\n    register({thing})\n"
    )
    found = Plugins()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sertool: plugin 'wrong' skipped: ValueError: {WRONG[thing]}")
    assert "toy" in found.names("models")


def test_a_plugin_that_breaks_while_it_adds_commands_takes_none_of_them_along(folder, capsys):
    folder(
        bad="import click, sertool\n@sertool.hookimpl\ndef register_commands(cli):\n"
        "    cli.add_command(click.Command('half'))\n    raise RuntimeError('later')\n",
        good=GOOD,
    )
    found, commands = Plugins(), group()
    found.add_commands(commands)
    found.add_commands(commands)
    assert list(commands.commands) == ["greet"]
    assert capsys.readouterr().err == "sertool: plugin 'bad' skipped: RuntimeError: later\n"


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_a_plugin_that_takes_a_built_in_command_is_refused(folder, capsys, command):
    folder(
        bad="import click, sertool\n@sertool.hookimpl\ndef register_commands(cli):\n"
        f"    cli.add_command(click.Command({command!r}))\n",
        good=GOOD,
    )
    found, commands = Plugins(), group()
    found.add_commands(commands)
    assert list(commands.commands) == ["greet"]
    assert f"plugin 'bad' skipped: ValueError: command '{command}' is taken" in capsys.readouterr().err
    assert commands.get_command(click.Context(commands), command).callback.__module__ == f"sertool.cli.{command}"


def test_a_plugin_that_takes_another_plugins_command_is_refused(folder, capsys):
    folder(a=GOOD, b=GOOD.replace("toy", "toy2").replace("hello from", "hello from b, not"))
    found, commands = Plugins(), group()
    found.add_commands(commands)
    assert "plugin 'b' skipped: ValueError: command 'greet' is taken" in capsys.readouterr().err
    commands.commands["greet"].callback()
    assert capsys.readouterr().out == "hello from a plugin\n"


def test_a_name_that_two_plugins_register_is_an_error_that_names_both_and_other_names_work(folder, capsys):
    folder(one=model("same") + "    " + model("only_one").splitlines()[-1].strip() + "\n", two=model("same"))
    found = Plugins()
    assert capsys.readouterr().err.count("'same' is registered by 'one' and 'two'") == 1
    with pytest.raises(UsageError, match="'same' is registered by 'one' and 'two'; disable one"):
        found.get("models", "same")
    assert found.get("models", "only_one").name == "only_one"
    assert found.get("models", "wav2small").name == "wav2small"
    for name in found.names("models"):  # a list of names is one of names that can be had
        found.get("models", name)


def test_disabling_one_of_two_plugins_settles_the_conflict(folder, capsys, monkeypatch):
    folder(one=model("same"), two=model("same"))
    monkeypatch.setenv("SERTOOL_DISABLE_PLUGINS", "two")
    found = Plugins()
    assert capsys.readouterr().err == ""
    assert found.get("models", "same").name == "same"


def test_one_name_for_two_kinds_is_no_conflict(folder, capsys):
    folder(one=GOOD.replace('"hum"', '"toy"'))
    found = Plugins()
    assert found.get("models", "toy").summary == "a toy"
    assert found.get("augmentations", "toy").summary == "mains hum"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("setting", ["good,wav2small", " good , wav2small ", "wav2small,good,no-such-plugin"])
def test_disabled_plugins_are_not_even_imported(folder, tmp_path, capsys, monkeypatch, setting):
    folder(good=f"open({str(tmp_path / 'imported')!r}, 'w')", raises=BROKEN["raises"][0])
    monkeypatch.setenv("SERTOOL_DISABLE_PLUGINS", setting + ",raises")
    found = Plugins()
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "imported").exists()
    assert "wav2small" not in found.names("models")
    states = {plugin.name: plugin.error for plugin in found.found}
    assert states["good"] == states["wav2small"] == "disabled by SERTOOL_DISABLE_PLUGINS"
    assert states["onnx"] is None


def test_an_unknown_name_says_what_there_is_and_which_plugins_failed(folder):
    folder(raises=BROKEN["raises"][0])
    with pytest.raises(
        UsageError, match=r"there is no 'no-such' \(there are: .*wav2small.*\); skipped plugins: raises"
    ):
        Plugins().get("models", "no-such")


def test_a_plugins_folder_that_is_not_there_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SERTOOL_PLUGINS_DIR", str(tmp_path / "none"))
    assert "wav2small" in Plugins().names("models")
    assert capsys.readouterr().err == f"sertool: SERTOOL_PLUGINS_DIR: {tmp_path / 'none'} is not a folder\n"


# The commands, in processes of their own


@pytest.mark.slow("starts processes")
def test_a_plugins_command_is_in_the_help_and_runs(folder, process):
    folder(good=GOOD)
    assert re.search(r"^  greet +Say hello\.$", process("--help").out, re.MULTILINE)
    assert process("greet") == (0, "hello from a plugin\n", "")


@pytest.mark.slow("starts processes")
@pytest.mark.parametrize(
    "arguments", [["plugins"], ["--help"], ["--version"], ["label", "CLIP"], ["models"]], ids=" ".join
)
def test_the_commands_work_though_every_kind_of_plugin_is_broken(folder, tmp_path, clip, process, arguments):
    folder(**{name: source for name, (source, _) in BROKEN.items()})
    path = clip(tmp_path / "a.wav")
    code, out, err = process(*(str(path) if a == "CLIP" else a for a in arguments))
    assert code == 0
    assert out
    for name in BROKEN:
        assert err.count(f"plugin '{name}'") <= 1
    if arguments == ["plugins"]:
        for name, (_, reason) in BROKEN.items():
            (line,) = [line for line in out.splitlines() if line.split()[0] == name]
            assert reason in line
            assert err.count(f"plugin '{name}' skipped: ") == 1
        assert {line.split()[0] for line in out.splitlines()} >= FIRST_PARTY


def test_plugins_json_says_what_each_registers(folder, process):
    folder(good=GOOD, raises=BROKEN["raises"][0])
    listed = {entry["name"]: entry for entry in json.loads(process("plugins", "--json").out)}
    assert listed.keys() >= FIRST_PARTY | {"good", "raises"}
    assert listed["good"]["registers"] == {
        "models": ["toy"],
        "augmentations": ["hum"],
        "exporters": ["flat"],
        "corpora": ["mine"],
        "formats": ["plain"],
        "segmenters": ["halves"],
        "losses": ["square"],
        "decoders": ["tape"],
        "commands": ["greet"],
    }
    assert listed["good"]["error"] is None
    assert listed["raises"]["registers"] == {}
    assert listed["raises"]["error"] == "RuntimeError: no such library"
    assert listed["wav2small"]["registers"]["models"] == ["wav2small", "wav2small-emotion", "wav2small-transformer"]
    assert listed["wav2small"]["version"] == importlib.metadata.version("sertool")


@pytest.mark.slow("starts processes")
def test_a_conflict_between_plugins_leaves_the_other_models_and_recipes_usable(folder, process):
    folder(one=model("same"), two=model("same"))
    code, out, err = process("models")
    assert code == 0
    assert err.count("'same' is registered by 'one' and 'two'") == 1
    assert "wav2small" in out


@pytest.mark.slow("starts processes")
@pytest.mark.parametrize("then", ["", "main(['plugins'])", "main(['models'])", "main(['--help'])"])
def test_loading_and_listing_plugins_imports_no_heavy_library(then):
    script = (
        "import sys\nfrom sertool.plugins import load_plugins\nfrom sertool.cli import main\n"
        f"try:\n    load_plugins()\n    {then}\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    modules = set(done.stderr.decode().split())
    assert "sertool_wav2small" in modules
    assert not modules & {"torch", "transformers", "timm", "onnx", "onnxscript", "onnxruntime", "audiomentations"}


# The house


def test_first_party_plugins_come_in_by_the_entry_point_group():
    points = {point.name: point for point in importlib.metadata.entry_points(group="sertool")}
    assert points.keys() >= FIRST_PARTY
    folder = Path(__file__).parents[1] / "plugins"
    if folder.is_dir():
        assert {path.name for path in folder.glob("sertool_*")} == {
            point.value for point in points.values() if point.dist.name == "sertool"
        }
    for point in points.values():
        if point.dist.name == "sertool":
            assert getattr(point.load(), "__file__", "").endswith("__init__.py")


@pytest.mark.slow("starts processes")
def test_sertool_never_imports_from_plugins():
    names = {point.value.partition(":")[0] for point in importlib.metadata.entry_points(group="sertool")}
    sources = sorted(Path(sertool.__file__).parent.rglob("*.py"))
    assert len(sources) > 20
    for path in sources:
        text = path.read_text(encoding="utf-8")
        for name in names:
            assert name not in text, f"{path} mentions {name}"
        for node in ast.walk(ast.parse(text)):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                imported = [node.module]
            for module in imported:
                assert not module.startswith(("sertool_", "plugins")), f"{path} imports {module}"


def test_a_misspelt_command_names_the_one_that_is_like_it(process):
    code, _, err = process("lable", "x.wav")
    assert code == 2
    assert "No such command 'lable'. Did you mean 'label'?" in err


@pytest.mark.slow("starts processes")
def test_a_file_whose_name_begins_with_a_hyphen_is_explained(clip, tmp_path, process):
    clip(tmp_path / "-dash.wav", 0.3)
    code, _, err = process("label", "-dash.wav", cwd=tmp_path)
    assert code == 2
    assert "(to name the file: ./-dash.wav)" in err
    assert process("label", "./-dash.wav", cwd=tmp_path).code == 0


@pytest.mark.slow("starts processes")
def test_a_clash_of_names_costs_the_plugins_these_names_and_nothing_else(folder, process):
    folder(one=model("same") + "    " + model("only_one").splitlines()[-1].strip() + "\n", two=model("same"))
    rows = {row["name"]: row for row in json.loads(process("plugins", "--json").out)}
    assert rows["one"]["error"] is None
    assert rows["one"]["registers"]["models"] == ["same", "only_one"]
    (line,) = rows["one"]["lost"]
    assert "'same' is registered by 'one' and 'two'" in line
    shown = process("plugins").out
    assert shown.count("lost: models: 'same' is registered") == 2
    assert "skipped" not in shown


@pytest.mark.slow("starts processes")
@pytest.mark.skipif(sys.platform == "win32", reason="descriptors of POSIX systems")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_cause_no_traceback(clip, tmp_path, closed):
    clip(tmp_path / "a.wav", 0.3)
    for arguments in ("label a.wav -o {}.csv --restart", "label - -o x.csv", "plugins", "nonsense"):
        line = f"{sys.executable} -m sertool {arguments.format('out')} {closed}"
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 1, 2)
    assert (tmp_path / "out.csv").read_text().count("\n") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_sigterm_puts_away_what_is_half_done(folder, tmp_path):
    where = folder(
        slow="import click, sertool, time, tempfile\n@sertool.hookimpl\ndef register_commands(cli):\n"
        "    @cli.command()\n    def slow():\n"
        f"        with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}, prefix='half-done-'):\n"
        "            click.echo('begun')\n            time.sleep(60)\n"
    )
    command = [sys.executable, "-m", "sertool", "slow"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "begun\n"
    assert list(where.glob("half-done-*"))
    running.terminate()
    _, err = running.communicate(timeout=30)
    assert running.returncode == 143
    assert "sertool: terminated\n" in err
    assert "Traceback" not in err
    assert not list(where.glob("half-done-*"))
