"""Compile csrc/ into sertool/kernel/_kernel.abi3.so: hatchling's build hook, and `python build.py` in place.

This file shadows PyPA's `python -m build`: build wheels with `pip wheel .`.
"""

import re
import shutil
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


if __name__ == "__main__":
    print(compile_kernel().relative_to(ROOT))
