"""`sertool bundle check`, `diff` and `show`."""

from typing import Any

import click


@click.command()
@click.argument("directory", metavar="BUNDLE")
@click.option("--sha256", metavar="HEX", help="Refuse all but the bundle with this sha256, as `bundle show` prints it.")
@click.option("--json", "as_json", is_flag=True, help='A JSON object; "sound" is true, or false beside a "fault".')
def check(**arguments: Any) -> int:
    """Check form and sums, load every variant, run the samples and compare with the expected outputs.

    Expected are the float32 model's outputs; a variant may differ by 0.001, and by twice what was measured when it was
    made. What each file says about itself must be what bundle.json says, and no file may be there that is not listed.

    Exit codes: 0 sound, 1 not, with the first fault named.
    """
    from sertool.cli.run.bundle import check

    return check(**arguments)


@click.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option("--variant", help="Compare outputs of this variant of both.  [default: the one that each labels with]")
@click.option("--runtime", type=click.Choice(["onnx", "native"]), help="Compare outputs of variants that this runs.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, of metrics all figures.")
def diff(**arguments: Any) -> int:
    """Show what changed from bundle A to B: bundle.json, files, metrics, and outputs on the samples of both.

    Exit codes: 0 equal in all of that, 1 different, 2 one of them cannot be read.
    """
    from sertool.cli.run.bundle import diff

    return diff(**arguments)


@click.command()
@click.argument("directory", metavar="BUNDLE")
@click.option("--json", "as_json", is_flag=True, help="The whole of bundle.json.")
def show(**arguments: Any) -> int:
    """Show a bundle: outputs and their range, variants, licence, training, metrics."""
    from sertool.cli.run.bundle import show

    return show(**arguments)
