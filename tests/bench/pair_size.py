"""What the pairs of exporter `c` take on a Cortex-M7: code, constants, memory, stack, instructions.

    python tests/bench/pair_size.py [MODEL]

MODEL is what `sertool export` takes, by default wav2small. Needs arm-none-eabi-gcc with newlib and qemu-system-arm.
Markdown: code and constants are sections of the object file; memory is the engine's, as the header says; stack is what
a call of run touches, and instructions are those of a second of audio, both on QEMU's mps2-an500 (tests/csrc/arm).
QEMU knows no pipeline, no cache and no wait for flash: instructions are no time.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from sertool import audio
from sertool.exporting import variants
from sertool.exporting.origin import find_origin

CSRC = Path(__file__).resolve().parents[1] / "csrc"
COMPILER = ["arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-d16", "-mfloat-abi=hard", "-std=c99"]
MACHINE = ["qemu-system-arm", "-M", "mps2-an500", "-display", "none", "-monitor", "none", "-serial", "none"]
MACHINE += ["-icount", "shift=0", "-semihosting-config", "enable=on,target=native", "-kernel"]


def run(*command) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="wav2small")
    origin = find_origin(parser.parse_args().model)
    clips = [audio.read(sample) for sample in origin.samples]
    print("| bits | flag | code | constants | memory | stack | instructions / s of audio |")
    print("|---|---|---|---|---|---|---|")
    for bits in (8, 32):
        form = variants.parse(f"c:bits={bits}")
        (entry,) = variants.entries([form])
        with tempfile.TemporaryDirectory() as folder:
            variants.export(origin.network, form, Path(folder, entry.file), origin.manifest, entry, clips)
            (source,) = (path for path in Path(folder).glob("*.c") if path.name != "main.c")
            for flag in ("-Os", "-O2", "-O3"):
                print(f"| {bits} | `{flag}` | " + " | ".join(f"{figure:,}" for figure in measured(source, flag)) + " |")


def measured(source: Path, flag: str) -> list[int]:
    """Bytes of code, constants, memory and stack, and instructions, rounded to a million."""
    folder, prefix = source.parent, source.stem
    run(*COMPILER, flag, "-c", source, "-o", folder / "object.o")
    sections = {"text": 0, "rodata": 0}
    for line in run("arm-none-eabi-size", "-A", folder / "object.o").splitlines():
        for name in sections:
            sections[name] += int(line.split()[1]) if line.startswith(f".{name}") else 0
    about = [f"-DMODEL={prefix}", f'-DHEADER="{prefix}.h"', f"-DOUTPUTS={prefix.upper()}_OUTPUTS", f"-I{folder}"]
    board = ["--specs=rdimon.specs", "-T", CSRC / "arm" / "mps2-an500.ld", CSRC / "arm" / "start.c"]
    program = folder / "measure.elf"
    run(*COMPILER, flag, *about, *board, CSRC / "arm" / "measure.c", source, "-lm", "-o", program)
    status, stack, millions, memory = run(*MACHINE, program).split()
    assert status == "0"
    return [*sections.values(), int(memory), int(stack), round(float(millions)) * 1_000_000]


if __name__ == "__main__":
    main()
