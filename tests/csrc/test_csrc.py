"""test_*.c with sanitizers and under valgrind, for every instruction set; sertool.h as C and as C++."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sertool.kernel import available_isas

pytestmark = pytest.mark.slow("compiles C with sanitizers and valgrind")

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
# Contraction off, as build.py does: sertool.h promises the same bits on that condition.
FLAGS = ["-std=c99", *STRICT, "-O2", "-g", "-ffp-contract=off", f"-I{CSRC}"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
UNROLLED = "wav2small_vector.c"  # takes half a minute to compile with sanitizers unless at -O0


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
    """program(source, compiler, *flags) -> the test program's path; what it is made of is compiled once."""
    objects, built = {}, {}

    def program(source: str, compiler: str, *flags: str) -> Path:
        if (compiler, flags) not in objects:
            folder = tmp_path_factory.mktemp("objects")
            for path in CSRC.glob("*.c"):
                hasty = ["-O0"] if path.name == UNROLLED and flags == tuple(SANITIZERS) else []
                run(compiler, *FLAGS, *flags, *hasty, "-c", path, "-o", folder / f"{path.stem}.o")
            objects[compiler, flags] = sorted(folder.iterdir())
        if (source, compiler, flags) not in built:
            path = tmp_path_factory.mktemp("csrc") / source
            run(compiler, *FLAGS, *flags, HERE / f"{source}.c", *objects[compiler, flags], "-o", path, "-lm")
            built[source, compiler, flags] = path
        return built[source, compiler, flags]

    return program


@pytest.fixture(scope="session")
def containers(tmp_path_factory):
    """The folder of NAME.weights for each NAME of containers.py."""
    folder = tmp_path_factory.mktemp("containers")
    run(sys.executable, HERE / "containers.py", folder)
    return folder


# valgrind 3.19 knows no AVX-512, and reads clang's debug information up to DWARF 4.
VALGRIND = ["valgrind", "-q", "--error-exitcode=1", "--leak-check=full"]
VALGRIND_ISAS = [isa for isa in available_isas() if isa in ("plain", "128", "avx2")]


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_contract_holds_under_sanitizers(program, name, compiler, isa):
    assert "all true" in run(program(name, compiler, *SANITIZERS), isa)


@pytest.mark.parametrize("isa", VALGRIND_ISAS)
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", PROGRAMS)
@needs("valgrind")
def test_contract_holds_under_valgrind(program, name, compiler, isa):
    assert "all true" in run(*VALGRIND, program(name, compiler, "-gdwarf-4"), isa)


# Between the compilers every kind of container meets every instruction set.
ENGINES = [
    pytest.param(compiler, isa, kind, marks=needs(compiler))
    for compiler, kinds in (("gcc", ("float", "int8-classes")), ("clang", ("float-classes", "int8")))
    for isa in available_isas()
    for kind in kinds
    if isa != "best"  # is one of the others
]


@pytest.mark.parametrize(("compiler", "isa", "kind"), ENGINES)
def test_engine_holds_its_contract_under_sanitizers(program, containers, compiler, isa, kind):
    assert "all true" in run(program("test_engine", compiler, *SANITIZERS), isa, containers / f"{kind}.weights")


@needs("gcc")
def test_engine_takes_no_more_than_sixteen_outputs(program, containers):
    engine = program("test_engine", "gcc", *SANITIZERS)
    done = subprocess.run([engine, "plain", containers / "too-many-outputs.weights"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "not true: ser_wav2small_init" in done.stderr


@pytest.mark.parametrize("isa", VALGRIND_ISAS)
@pytest.mark.parametrize(
    ("compiler", "kind"),
    [
        pytest.param("gcc", "float-classes", marks=needs("gcc")),
        pytest.param("clang", "int8-classes", marks=needs("clang")),
    ],
)
@needs("valgrind")
def test_engine_holds_its_contract_under_valgrind(program, containers, compiler, isa, kind):
    engine = program("test_engine", compiler, "-gdwarf-4")
    assert "all true" in run(*VALGRIND, engine, isa, containers / f"{kind}.weights", "briefly")


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_program_fails_when_the_contract_is_broken(compiler, tmp_path):
    """An init that clears one byte too many must not pass, even without a sanitizer."""
    for source in CSRC.iterdir():
        if source.suffix in (".c", ".h"):
            shutil.copy(source, tmp_path)
    broken = tmp_path / "logmel_init.c"
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


@pytest.mark.parametrize("build", [[], ["-DSER_PLAIN"]], ids=["vectors", "plain"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_sources_are_strict_c99(compiler, build, tmp_path):
    more = ["-O0", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes"]
    for source in sorted(CSRC.glob("*.c")):
        run(compiler, *FLAGS, *more, *build, "-c", source, "-o", tmp_path / "o")


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
