"""Compile csrc/ into sertool/kernel/_kernel.abi3.so: hatchling's build hook, and `python build.py` in place.

`python build.py web` compiles it to sertool/web/engine.wasm, which is kept in the repository, so that exporting for the
browser needs no compiler. It needs emcc; Debian's package emscripten (3.1.6) gives the same bytes.

This file shadows PyPA's `python -m build`: build wheels with `pip wheel .`.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
MODULE = "sertool.kernel._kernel"

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # `python build.py` needs only cffi and a compiler
    BuildHookInterface = object  # type: ignore[assignment, misc]  # a stand-in for the base class


class KernelBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # `object` takes no arguments
    """Add the compiled kernel to wheels and editable installs, tagged cp310-abi3, and its sources to wheels."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        extension = compile_kernel()
        platform = re.sub(r"[-.]", "_", sysconfig.get_platform())
        build_data["pure_python"] = False
        build_data["tag"] = f"cp310-abi3-{platform}"
        build_data["artifacts"].append(extension.relative_to(ROOT).as_posix())
        if version == "standard":  # the exporter "c" writes these files
            for source in sorted((ROOT / "csrc").glob("*.[ch]")):
                build_data["force_include"][str(source)] = f"sertool_native/csrc/{source.name}"


def declarations() -> str:
    """Return sertool.h for cffi's parser: without preprocessor lines and the C++ guard."""
    header = (ROOT / "csrc" / "sertool.h").read_text(encoding="utf-8")
    header = re.sub(r"#ifdef __cplusplus.*?#endif", "", header, flags=re.DOTALL)
    return re.sub(r"^#.*$", "", header, flags=re.MULTILINE)


def compile_kernel() -> Path:
    """Compile the extension, copy it into the package and return its path."""
    from cffi import FFI

    ffi = FFI()
    ffi.cdef(declarations())
    # No contraction, so that every instruction set gives the same bits as the plain C reference.
    unix = ["-std=c99", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]
    ffi.set_source(
        MODULE,
        '#include "sertool.h"',
        sources=[str(path) for path in sorted((ROOT / "csrc").glob("*.c"))],
        include_dirs=[str(ROOT / "csrc")],
        extra_compile_args=["/O2", "/fp:precise"] if sys.platform == "win32" else unix,
        py_limited_api=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(ffi.compile(tmpdir=scratch))
        target = ROOT / "sertool" / "kernel" / built.name
        target.unlink(missing_ok=True)  # a running process keeps its old copy
        shutil.copy(built, target)
    return target


#: Functions of csrc/ that sertool/web/sertool.js calls.
WEB = """
ser_status_text ser_segmenter_size ser_segmenter_init ser_segmenter_push ser_segmenter_finish ser_segmenter_uncertain
ser_vad_parameters_default ser_vad_size ser_vad_init ser_vad_push ser_vad_finish ser_wav2small_size ser_wav2small_init
ser_wav2small_outputs ser_wav2small_passes ser_wav2small_push ser_wav2small_next ser_wav2small_embedding
ser_wav2small_finish ser_wav2small_reset
"""


def compile_web(target: Path) -> Path:
    """Compile the engine to WebAssembly that imports nothing: no memory, no system calls, no JavaScript."""
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").glob("*.c"))
    options = ["-O2", "-std=c99", "-msimd128", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Icsrc"]
    settings = {
        "STANDALONE_WASM": "1",
        "WASM_BIGINT": "1",
        "ALLOW_MEMORY_GROWTH": "1",
        "INITIAL_MEMORY": str(1 << 20),
        "TOTAL_STACK": str(1 << 17),
        "EXPORTED_FUNCTIONS": ",".join(f"_{name}" for name in WEB.split()),
    }
    subprocess.run(
        ["emcc", *options, "-Wno-unused-parameter", *sources, "csrc/web/engine.c", "--no-entry"]
        + [f"-s{name}={value}" for name, value in settings.items()]
        + ["-Wl,--export=__heap_base", "-o", str(target)],
        cwd=ROOT,
        check=True,
    )
    target.chmod(0o644)
    return target


if __name__ == "__main__":
    made = compile_web(ROOT / "sertool" / "web" / "engine.wasm") if sys.argv[1:] == ["web"] else compile_kernel()
    print(made.relative_to(ROOT))
