"""Implementation of `sertool bundle`. Each function runs a command; the arguments are its options."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

from sertool import bundle as bundles
from sertool.cli.terminal import visible
from sertool.cli.view import bundle as view
from sertool.errors import BundleError
from sertool.packaging import archive
from sertool.packaging import check as checks
from sertool.packaging import diff as differences

_P = ParamSpec("_P")


def _faults_end_with_1(command: Callable[_P, int]) -> Callable[_P, int]:
    """Turn a BundleError into exit code 1; other errors keep exit code 2."""

    @functools.wraps(command)
    def run(*arguments: _P.args, **options: _P.kwargs) -> int:
        try:
            return command(*arguments, **options)
        except BundleError as error:
            click.echo(f"sertool: {error}", err=True)
            return 1

    return run


@_faults_end_with_1
def check(directory: str, sha256: str | None, as_json: bool) -> int:
    """Run `sertool bundle check`."""
    try:
        result = checks.check(bundles.read(bundles.find(directory)), sha256)
    except BundleError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"sound": False, "fault": str(error)}, indent=2))
        return 1
    if as_json:
        click.echo(json.dumps({"sound": True, **result}, indent=2))
        return 0
    for line in view.checked(result):
        click.echo(line)
    return 0


def diff(one: str, other: str, variant: str | None, runtime: str | None, as_json: bool) -> int:
    """Run `sertool bundle diff`."""
    a, b = (bundles.read(bundles.find(name)) for name in (one, other))
    result = differences.compare(a, b, variant, runtime)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        for line in differences.lines(result):
            click.echo(visible(line))
    return 0 if result["equal"] else 1


def show(directory: str, as_json: bool) -> int:
    """Run `sertool bundle show`."""
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


@_faults_end_with_1
def pack(directory: str, output: Path | None, force: bool) -> int:
    """Run `sertool bundle pack`."""
    packed = bundles.read(bundles.find(directory))
    output = output or Path(f"{packed.manifest.name}-{packed.manifest.version}.zip")
    digest = archive.pack(packed, output, force)
    click.echo(f"{output}: {output.stat().st_size} bytes, sha256 {digest}")
    click.echo(f"the bundle in it: sha256 {bundles.digest(packed.path)}")
    return 0


@_faults_end_with_1
def unpack(file: Path, output: Path | None, sha256: str | None) -> int:
    """Run `sertool bundle unpack`."""
    unpacked = archive.unpack(file, output, sha256)
    click.echo(f"{unpacked.path}: {view.title(unpacked)}, sha256 {bundles.digest(unpacked.path)}")
    return 0


@_faults_end_with_1
def install(source: Path, name: str | None, force: bool, sha256: str | None) -> int:
    """Run `sertool bundle install`."""
    installed = archive.install(source, name, force, sha256, checks.check)
    click.echo(f"installed {view.title(installed)} in {installed.path}, sha256 {bundles.digest(installed.path)}")
    click.echo(f"label with it: sertool label -m {installed.path.name} FOLDER")
    return 0


def uninstall(name: str) -> int:
    """Run `sertool bundle uninstall`."""
    click.echo(f"removed {archive.uninstall(name)}")
    return 0
