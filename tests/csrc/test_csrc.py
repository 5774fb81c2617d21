"""test_frontend.c and test_vad.c with sanitizers and valgrind, for every instruction set; sertool.h as C and C++."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sertool.frontend.kernel import available_isas

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
# Contraction off, as build.py does: sertool.h promises the same bits on that condition.
FLAGS = ["-std=c99", *STRICT, "-O2", "-g", "-ffp-contract=off", f"-I{CSRC}"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def needs(tool: str):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


PROGRAMS = ("test_frontend", "test_vad")
COMPILERS = [pytest.param(name, marks=needs(name)) for name in ("gcc", "clang")]


def run(*command) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """program(name, compiler, *flags) -> a test program's path, compiled once."""
    built = {}

    def program(name: str, compiler: str, *flags: str) -> Path:
        if (name, compiler, flags) not in built:
            path = tmp_path_factory.mktemp("csrc") / name
            run(compiler, *FLAGS, *flags, HERE / f"{name}.c", *sorted(CSRC.glob("*.c")), "-o", path, "-lm")
            built[name, compiler, flags] = path
        return built[name, compiler, flags]

    return program


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_contract_holds_under_sanitizers(program, name, compiler, isa):
    assert "all true" in run(program(name, compiler, *SANITIZERS), isa)


# valgrind 3.19 knows no AVX-512, and reads clang's debug information up to DWARF 4.
@pytest.mark.parametrize("isa", [isa for isa in available_isas() if isa in ("plain", "128", "avx2")])
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", PROGRAMS)
@needs("valgrind")
def test_contract_holds_under_valgrind(program, name, compiler, isa):
    valgrind = ["valgrind", "-q", "--error-exitcode=1", "--leak-check=full"]
    assert "all true" in run(*valgrind, program(name, compiler, "-gdwarf-4"), isa)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_program_fails_when_the_contract_is_broken(compiler, tmp_path):
    """An init that clears one byte too many must not pass, even without a sanitizer."""
    for source in CSRC.iterdir():
        if source.suffix in (".c", ".h"):
            shutil.copy(source, tmp_path)
    broken = tmp_path / "logmel.c"
    right, wrong = "memset(memory, 0, ser_logmel_size(n_fft));", "memset(memory, 0, ser_logmel_size(n_fft) + 1);"
    assert right in broken.read_text()
    broken.write_text(broken.read_text().replace(right, wrong))
    program = tmp_path / "test_frontend"
    flags = [flag for flag in FLAGS if not flag.startswith("-I")]
    sources = [HERE / "test_frontend.c", *sorted(tmp_path.glob("*.c"))]
    run(compiler, *flags, f"-I{tmp_path}", *sources, "-o", program, "-lm")
    done = subprocess.run([program, "plain"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "canaries" in done.stderr


@pytest.mark.parametrize("compiler", COMPILERS)
def test_sources_are_strict_c99(compiler, tmp_path):
    more = ["-O0", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes"]
    for source in sorted(CSRC.glob("*.c")):
        run(compiler, *FLAGS, *more, "-c", source, "-o", tmp_path / "o")


@pytest.mark.parametrize(
    ("compiler", "language"),
    [
        pytest.param("gcc", ["-std=c99", "-x", "c"], marks=needs("gcc")),
        pytest.param("gcc", ["-std=c11", "-x", "c"], marks=needs("gcc")),
        pytest.param("g++", ["-std=c++98", "-Wno-long-long", "-x", "c++"], marks=needs("g++")),
        pytest.param("g++", ["-std=c++17", "-x", "c++"], marks=needs("g++")),
    ],
    ids=["c99", "c11", "c++98", "c++17"],
)
def test_header_compiles_on_its_own(compiler, language):
    run(compiler, *STRICT, *language, "-fsyntax-only", CSRC / "sertool.h")


@needs("gcc")
def test_object_files_ask_libc_for_nothing_but_what_the_header_says(tmp_path):
    """No allocation, no files, no globals: memcpy, memmove, memset and sqrt only."""
    wanted, data = set(), []
    for source in sorted(CSRC.glob("*.c")):
        # Without -fpie constant tables of pointers are constants, not data to be relocated.
        run("gcc", "-std=c99", "-O2", "-fno-pie", "-c", source, "-o", tmp_path / "o")
        for line in run("nm", tmp_path / "o").splitlines():
            kind, name = line.split()[-2:]
            if kind == "U":
                wanted.add(name)
            elif kind in "BbDdC":
                data.append(name)
    allowed = {
        "memcpy",
        "memmove",
        "memset",
        "sqrt",
        "_GLOBAL_OFFSET_TABLE_",
        "__cpu_model",
        "__cpu_features2",
        "__cpu_indicator_init",
    }
    assert {name for name in wanted if not name.startswith("ser_")} <= allowed
    assert data == []
