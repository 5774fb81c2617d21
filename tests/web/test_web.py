"""The files for the browser, and that the engine in them is csrc/."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sertool import bundle, web
from sertool.bundle import container
from sertool.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
NODE = shutil.which("node")


@pytest.fixture(scope="module")
def files():
    return web.files((bundle.bundled_folder() / "wav2small" / "model.int8.native").read_bytes())


def test_script_and_engine_are_below_250_kilobytes(files):
    assert len(files[web.WASM]) + len(files[web.SCRIPT]) < 250_000


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_engine_imports_nothing_and_holds_the_weights(files, tmp_path):
    (tmp_path / "model.wasm").write_bytes(files[web.WASM])
    code = (
        'const m = new WebAssembly.Module(require("fs").readFileSync(process.argv[1]));'
        "console.log(JSON.stringify([WebAssembly.Module.imports(m),"
        ' Buffer.from(WebAssembly.Module.customSections(m, "sertool")[0]).toString("base64")]))'
    )
    done = subprocess.run([NODE, "-e", code, tmp_path / "model.wasm"], capture_output=True, text=True, check=True)
    imports, section = json.loads(done.stdout)
    assert imports == []
    import base64

    weights = bundle.bundled_folder() / "wav2small" / "model.int8.native"
    assert base64.b64decode(section) == weights.read_bytes()


@pytest.mark.skipif(shutil.which("emcc") is None, reason="emscripten is not installed")
def test_the_engine_is_what_the_c_code_compiles_to(tmp_path):
    version = subprocess.run(["emcc", "--version"], capture_output=True, text=True, check=True).stdout
    if "3.1.6" not in version.splitlines()[0]:
        pytest.skip("another emscripten gives other bytes")
    spec = importlib.util.spec_from_file_location("build_of_sertool", ROOT / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    built = build.compile_web(tmp_path / "engine.wasm").read_bytes()
    assert built == (ROOT / "sertool" / "web" / "engine.wasm").read_bytes(), "run python build.py web"


def test_the_types_name_what_the_script_exports(files):
    script, types = files[web.SCRIPT].decode(), files[web.TYPES].decode()
    declared = set(re.findall(r"^export (?:function|class|const) (\w+)", types, re.MULTILINE))
    exported = set(re.search(r"const api = \{([^}]*)\}", script)[1].replace(" ", "").split(","))
    assert declared <= exported
    for name in ("Model", "Stream", "WorkerModel"):
        methods = re.findall(r"^    (\w+)\(", re.search(rf"interface {name}\b.*?^}}", types, re.S | re.M)[0], re.M)
        assert methods
        for method in methods:
            assert re.search(rf'["\s]{method}["(:]', script), (name, method)


def test_the_page_allows_nothing_from_outside(files):
    page = files[web.PAGE].decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src &#x27;none&#x27;" in policy
    assert "connect-src &#x27;none&#x27;" in policy
    assert not re.search(r"https?://", page)


def test_weights_without_a_manifest_are_refused():
    data = (bundle.bundled_folder() / "wav2small" / "model.int8.native").read_bytes()
    tensors, _ = container.unpacked(data)
    with pytest.raises(UsageError, match="no manifest"):
        web.files(container.packed(tensors, ""))
