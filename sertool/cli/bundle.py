"""`sertool bundle`: check, show, compare, pack and install bundles."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

from sertool.cli.terminal import visible
from sertool.cli.view import bundle as view

_P = ParamSpec("_P")

_SHA256 = click.option(
    "--sha256", metavar="HEX", help="Refuse all but the bundle with this sha256, as `bundle show` prints it."
)
_ARCHIVE_SHA256 = click.option(
    "--sha256", metavar="HEX", help="Refuse all but this sha256, of the zip or of the bundle, as `bundle pack` prints."
)
_PATH = click.Path(path_type=Path)
_EXISTING_PATH = click.Path(exists=True, path_type=Path)


@click.group(
    epilog="""\b
One sha256 stands for a whole bundle: that of its SHA256SUMS, which lists all
other files. Whoever gets it from you by another way can tell, with --sha256,
that a bundle is yours.
\b
Exit codes: 0 done, 1 the bundle or zip is not sound, 2 wrong usage; of diff:
0 equal, 1 different, 2 cannot be compared.
\b
Examples:
  sertool bundle check out/                      is it whole, and still right?
  sertool bundle diff wav2small out/             what would change?
  sertool bundle pack out/ -o mine.zip           to pass it on; prints sha256
  sertool bundle install mine.zip --sha256 HEX   to label with: -m NAME
  sertool bundle uninstall mine"""
)
def bundle() -> None:
    """Check a bundle, compare two, pack and install them.

    A bundle is a folder with a bundle.json, as `sertool train`, `distil` and `export` write it; it is named by that
    folder or, if it is installed or ships with sertool, by its name (`sertool models` lists them). A model is a
    program: it cannot reach files or the network, but it can take time and memory. Install what you trust.
    """


def _faults_end_with_1(command: Callable[_P, int]) -> Callable[_P, int]:
    """Turn a BundleError into exit code 1; other errors keep exit code 2."""

    @functools.wraps(command)
    def run(*arguments: _P.args, **options: _P.kwargs) -> int:
        from sertool.errors import BundleError

        try:
            return command(*arguments, **options)
        except BundleError as error:
            click.echo(f"sertool: {error}", err=True)
            return 1

    return run


@bundle.command()
@click.argument("directory", metavar="BUNDLE")
@_SHA256
@click.option("--json", "as_json", is_flag=True, help='A JSON object; "sound" is true, or false beside a "fault".')
@_faults_end_with_1
def check(directory: str, sha256: str | None, as_json: bool) -> int:
    """Check form and sums, load every variant, run the samples and compare with the expected outputs.

    Expected are the float32 model's outputs; a variant may differ by 0.001, and by twice what was measured when it was
    made. What each file says about itself must be what bundle.json says, and no file may be there that is not listed.

    Exit codes: 0 sound, 1 not, with the first fault named.
    """
    from sertool import bundle as bundles
    from sertool.errors import BundleError
    from sertool.packaging import check

    try:
        result = check.check(bundles.read(bundles.find(directory)), sha256)
    except BundleError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"sound": False, "fault": str(error)}, indent=2))
        return 1
    if as_json:
        click.echo(json.dumps({"sound": True, **result}, indent=2))
        return 0
    click.echo(f"{result['name']} {result['version']}: {result['files']} files as listed in {bundles.SUMS}")
    click.echo(f"sha256 {result['sha256']}")
    for variant in result["variants"]:
        click.echo(
            f"{variant['file']}: {variant['samples']} samples, largest difference {variant['difference']:.1e} "
            f"(at most {variant['allowed']:.2g})"
        )
    click.echo("sound")
    return 0


@bundle.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option("--variant", help="Compare outputs of this variant of both.  [default: the one that each labels with]")
@click.option("--runtime", type=click.Choice(["onnx", "native"]), help="Compare outputs of variants that this runs.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, of metrics all figures.")
def diff(one: str, other: str, variant: str | None, runtime: str | None, as_json: bool) -> int:
    """Show what changed from bundle A to B: bundle.json, files, metrics, and outputs on the samples of both.

    Exit codes: 0 equal in all of that, 1 different, 2 one of them cannot be read.
    """
    from sertool import bundle as bundles
    from sertool.packaging.diff import compare, lines

    a, b = (bundles.read(bundles.find(name)) for name in (one, other))
    result = compare(a, b, variant, runtime)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        for line in lines(result):
            click.echo(visible(line))
    return 0 if result["equal"] else 1


@bundle.command()
@click.argument("directory", metavar="BUNDLE")
@click.option("-o", "--output", metavar="FILE", type=_PATH, help="[default: NAME-VERSION.zip]")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@_faults_end_with_1
def pack(directory: str, output: Path | None, force: bool) -> int:
    """Pack a bundle as one zip, its sums checked first.

    The same bundle gives the same bytes wherever and whenever it is packed; nothing is compressed. Any unzip reads it.

    Exit codes: 0 packed, 1 the bundle is not sound, 2 wrong usage.
    """
    from sertool import bundle as bundles
    from sertool.packaging import archive

    packed = bundles.read(bundles.find(directory))
    output = output or Path(f"{packed.manifest.name}-{packed.manifest.version}.zip")
    digest = archive.pack(packed, output, force)
    click.echo(f"{output}: {output.stat().st_size} bytes, sha256 {digest}")
    click.echo(f"the bundle in it: sha256 {bundles.digest(packed.path)}")
    return 0


@bundle.command()
@click.argument("file", type=_EXISTING_PATH)
@click.option("-o", "--output", metavar="DIR", type=_PATH, help="The new folder.  [default: the bundle's name, here]")
@_ARCHIVE_SHA256
@_faults_end_with_1
def unpack(file: Path, output: Path | None, sha256: str | None) -> int:
    """Unpack the zip of a bundle into a new folder and check its sums.

    Exit codes: 0 unpacked, 1 the zip is not sound and nothing was written, 2 wrong usage.
    """
    from sertool import bundle as bundles
    from sertool.packaging import archive

    unpacked = archive.unpack(file, output, sha256)
    click.echo(f"{unpacked.path}: {view.title(unpacked)}, sha256 {bundles.digest(unpacked.path)}")
    return 0


@bundle.command()
@click.argument("source", metavar="FILE|FOLDER", type=_EXISTING_PATH)
@click.option("--name", help="What to call it.  [default: its own name]")
@click.option("--force", is_flag=True, help="Replace one of that name, or go before one that ships with sertool.")
@_ARCHIVE_SHA256
@_faults_end_with_1
def install(source: Path, name: str | None, force: bool, sha256: str | None) -> int:
    """Check a bundle, a zip or a folder, and copy it to your bundles, so that `--model NAME` finds it.

    Your bundles are below SERTOOL_BUNDLES, by default sertool/bundles in your data folder. A bundle of that name that
    is there stays as it is until the new one has passed `bundle check`.

    Exit codes: 0 installed, 1 the bundle is not sound and nothing was changed, 2 wrong usage.
    """
    from sertool import bundle as bundles
    from sertool.packaging import archive, check

    installed = archive.install(source, name, force, sha256, check.check)
    click.echo(f"installed {view.title(installed)} in {installed.path}, sha256 {bundles.digest(installed.path)}")
    click.echo(f"label with it: sertool label -m {installed.path.name} FOLDER")
    return 0


@bundle.command()
@click.argument("name")
def uninstall(name: str) -> int:
    """Remove a bundle of yours by its name.

    Exit codes: 0 removed, 2 there is none of that name.
    """
    from sertool.packaging import archive

    click.echo(f"removed {archive.uninstall(name)}")
    return 0


@bundle.command()
@click.argument("directory", metavar="BUNDLE")
@click.option("--json", "as_json", is_flag=True, help="The whole of bundle.json.")
def show(directory: str, as_json: bool) -> int:
    """Show a bundle: outputs and their range, variants, licence, training, metrics."""
    from sertool import bundle as bundles
    from sertool.errors import BundleError

    shown = bundles.read(bundles.find(directory))
    if as_json:
        click.echo(json.dumps(shown.manifest.to_dict(), indent=2))
        return 0
    try:
        lines = view.description(shown)
    except (LookupError, TypeError, ValueError, AttributeError):
        # The format leaves the form of both open; only the form that sertool writes can be shown.
        path = shown.path / bundles.MANIFEST
        raise BundleError(f"{path}: training or metrics have an unknown form (--json shows them)") from None
    for line in lines:
        click.echo(visible(line))
    return 0
