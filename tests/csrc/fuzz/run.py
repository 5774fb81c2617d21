#!/usr/bin/env python3
"""Fuzz the C entry points with libFuzzer, sanitizers on, and keep the inputs that reach something new in corpus/.

    tests/csrc/fuzz/run.py [--minutes 10] [TARGET...]      needs clang
    tests/csrc/fuzz/run.py --replay gcc|clang [TARGET...]  only seeds and what is kept, without libFuzzer
    tests/csrc/fuzz/run.py --coverage [TARGET...]          lines of csrc that what is kept reaches; needs llvm-cov

Without TARGET all of them. What fails is left in the folder that is named, and the exit status is 1.
"""

import argparse
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[2] / "csrc"
CORPUS = HERE / "corpus"
FLAGS = ["-std=c99", "-D_POSIX_C_SOURCE=200112L", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-g"]
FLAGS += ["-ffp-contract=off", f"-I{CSRC}"]
UNROLLED = "wav2small_vector.c"  # takes half a minute to compile with sanitizers unless at -O0
SANITIZERS = "address,undefined,float-cast-overflow"
CLANGS = SANITIZERS + ",integer"  # unsigned overflow and casts that lose bits as well

#: target: share of the time, most bytes of an input, the file of csrc that it includes
TARGETS = {
    "weights": (3, 512, None),
    "engine": (3, 512, None),
    "logmel": (1.5, 512, "logmel_init.c"),
    "vad": (1.5, 512, "vad.c"),
    "segments": (1, 512, None),
}


def seeds(target: str) -> list[bytes]:
    """Inputs to begin with: a usual use each."""
    noise = bytes([200, 200, 7])  # 136 * 4 samples of level 1
    short = bytes([164, 200, 0])  # 100 samples
    if target == "engine":
        recording = bytes([0]) + noise + bytes([0]) + short + bytes([3, 2, 100, 7, 7, 7, 4])
        return [bytes([kind, isa]) + recording for kind in range(4) for isa in range(4)]
    if target == "weights":
        nothing = [bytes([128 + kind, isa]) for kind in range(4) for isa in range(4)]
        edits = bytes([0, 0, 0, 0, 0, 5, 3]) + struct.pack("<If", 7, 1e30) + bytes([4, 2, 9, 1, 5, 3, 64])
        bare = b"SERNATV1" + struct.pack("<6I", 96, 1, 0, 0, 0, 0) + b"network".ljust(24, b"\0")
        bare += struct.pack("<10I", 3, 1, 4, 1, 1, 1, 64, 16, 0, 0)
        cut = [bytes([128, 0, 224]) + struct.pack("<I", at) for at in (31, 1000, 60000)]
        beyond = [bytes([128, 0, 0, 0, 0, 0, 0, 1, 3, field, 152]) for field in (6, 7)]  # offset, bytes: 2^24
        return [
            *nothing,
            *cut,
            *beyond,
            nothing[0] + edits,
            nothing[9] + edits,
            *(bytes([kind, 0]) + bare for kind in (0, 32, 64)),
        ]
    if target == "logmel":
        recording = bytes([0]) + noise + bytes([99, 4]) + short + bytes([50, 5])
        return [bytes([kind, isa]) + 2 * recording for kind in range(2) for isa in range(4)]
    if target == "vad":
        recording = 9 * (bytes([0]) + noise + bytes([99])) + bytes([5]) + short + bytes([50, 6])
        return [bytes([isa]) + 2 * recording for isa in range(4)]
    loud, quiet = bytes([63, 250, 0]), bytes([63, 10, 0])
    return [bytes([0]) + loud + quiet + loud + quiet[:2] + b"\xff", bytes([1, 70, 60, 150, 140, 130]) + loud + quiet]


def run(*command, **options) -> subprocess.CompletedProcess:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace", **options)
    return done


def must(*command) -> str:
    done = run(*command)
    if done.returncode:
        sys.exit(f"{command[0]} failed\n{done.stdout}{done.stderr}")
    return done.stdout


def build(target: str, compiler: str, folder: Path, *flags: str, main: Path | None = HERE / "replay.c") -> Path:
    """Compile a target, all of csrc but what it includes, and `main`, into folder; returns the program's path.

    What is there is not compiled again: a folder is for one compiler and one set of flags.
    """
    if not (folder / "float.weights").exists():
        must(sys.executable, HERE.parent / "containers.py", folder)
    program = folder / f"fuzz_{target}_{compiler}"
    common = [compiler, *FLAGS, f'-DCONTAINERS="{folder}"', *flags]
    objects = []
    for source in sorted(CSRC.glob("*.c")):
        if source.name != TARGETS[target][2]:
            objects.append(folder / f"{source.stem}.o")
            if not objects[-1].exists():
                must(*common, *(["-O0"] if source.name == UNROLLED else []), "-c", source, "-o", objects[-1])
    must(*common, HERE / f"fuzz_{target}.c", *objects, *([main] if main else []), "-o", program, "-lm")
    return program


def kept(target: str) -> list[Path]:
    return sorted((CORPUS / target).glob("*"))


def replay(target: str, compiler: str, folder: Path) -> bool:
    sanitizers = CLANGS if compiler == "clang" else SANITIZERS
    program = build(target, compiler, folder, "-O1", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all")
    for i, seed in enumerate(seeds(target)):
        (folder / f"{target}-seed{i}").write_bytes(seed)
    done = run(program, *kept(target), *sorted(folder.glob(f"{target}-seed*")))
    print(f"{target}: {done.stdout}" if done.returncode == 0 else f"{target} fails\n{done.stderr[-6000:]}", end="")
    return done.returncode == 0


def fuzz(target: str, seconds: int, folder: Path) -> bool:
    """Fuzz, then keep the inputs that reach every edge that any reached."""
    # Without trace-cmp, which counts what the sanitizers compare, too: three quarters of the time, for nothing.
    flags = [f"-fsanitize=fuzzer,{CLANGS}", "-fno-sanitize-recover=all", "-fno-sanitize-coverage=trace-cmp"]
    program = build(target, "clang", folder, *flags, main=None)
    work, found = folder / target, folder / f"{target}-failed-"
    work.mkdir()
    for i, seed in enumerate(seeds(target)):
        (work / f"seed{i}").write_bytes(seed)
    for path in kept(target):
        shutil.copy(path, work)
    limits = [
        f"-max_len={TARGETS[target][1]}",
        "-len_control=0",
        "-timeout=20",
        "-rss_limit_mb=1024",
        f"-artifact_prefix={found}",
    ]
    done = run(program, work, *limits, f"-max_total_time={seconds}", "-print_final_stats=1", "-verbosity=1")
    figures = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
    reached = (re.findall(r"cov: (\d+)", done.stderr) or ["?"])[-1]
    print(f"{target}: {figures.get('number_of_executed_units', '?')} inputs in {seconds} s, {reached} edges reached")
    if done.returncode:
        print(f"{target} fails\n{done.stderr[-6000:]}")
        return False
    chosen = folder / f"{target}-kept"
    chosen.mkdir()
    must(program, "-set_cover_merge=1", "-use_counters=0", *limits, chosen, work)
    shutil.rmtree(CORPUS / target, ignore_errors=True)
    (CORPUS / target).mkdir(parents=True)
    for path in chosen.iterdir():
        shutil.copy(path, CORPUS / target / path.name[:12])
    print(f"{target}: {len(kept(target))} inputs kept")
    return True


def coverage(targets: list[str], folder: Path) -> None:
    """Print the table of llvm-cov for csrc."""
    programs = []
    for target in targets:
        programs.append(build(target, "clang", folder, "-fprofile-instr-generate", "-fcoverage-mapping"))
        done = run(programs[-1], *kept(target), env={"LLVM_PROFILE_FILE": str(folder / f"{target}.profraw")})
        assert done.returncode == 0, done.stderr
    version = re.search(r"version (\d+)", must("clang", "--version")).group(1)
    tool = {name: shutil.which(name) or f"/usr/lib/llvm-{version}/bin/{name}" for name in ("llvm-profdata", "llvm-cov")}
    must(tool["llvm-profdata"], "merge", *folder.glob("*.profraw"), "-o", folder / "all.profdata")
    objects = [part for program in programs[1:] for part in ("-object", program)]
    print(must(tool["llvm-cov"], "report", programs[0], *objects, f"-instr-profile={folder / 'all.profdata'}", CSRC))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=10, help="altogether")
    parser.add_argument("--replay", choices=["gcc", "clang"])
    parser.add_argument("--coverage", action="store_true")
    options = parser.parse_args()
    targets = options.targets or list(TARGETS)
    if unknown := set(targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    folder = Path(tempfile.mkdtemp(prefix="sertool-fuzz-"))
    if options.coverage:
        coverage(targets, folder)
        right = True
    elif options.replay:
        right = all([replay(target, options.replay, folder) for target in targets])
    else:
        shares = sum(TARGETS[target][0] for target in targets)
        seconds = {target: max(1, round(60 * options.minutes * TARGETS[target][0] / shares)) for target in targets}
        right = all([fuzz(target, seconds[target], folder) for target in targets])
    if right:
        shutil.rmtree(folder)
    else:
        print(f"see {folder}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
