"""Pack bundles into one file, unpack, install and uninstall them."""

import contextlib
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from sertool.bundle import names
from sertool.bundle.folder import MANIFEST, SUMS, Bundle, check_sums, digest, place, read, require_digest, sha256, sums
from sertool.bundle.names import quoted
from sertool.bundle.store import bundled_folder, installed, user_folder
from sertool.errors import BundleError, UsageError

#: Maximum compression ratio of an archive. Weights have about 1; deflate reaches 1000 with zeros.
HIGHEST_RATIO = 100

_LARGEST_DIRECTORY = 1 << 20  # maximum bytes of the list of entries
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that zip can represent
_BLOCK = 1 << 20


class _Put(Protocol):
    """Moves a file or folder to its target; the default target is that of ``_staging``."""

    def __call__(self, path: Path, target: Path = ...) -> None: ...


def pack(bundle: Bundle, target: Path, force: bool = False) -> str:
    """Check a bundle's checksums, write it as one zip, atomically, and return the zip's sha256.

    The same bundle gives the same bytes on any machine: entries are sorted, dated 1980, in a folder with the bundle's
    name, and not compressed, because the bytes would depend on the version of zlib and weights hardly compress. Raises
    UsageError if ``target`` exists, unless ``force``.
    """
    if os.path.lexists(target) and not force:
        raise UsageError(f"{target} already exists: --force replaces it, -o chooses another path")
    check_sums(bundle)
    if target.resolve().is_relative_to(bundle.path.resolve()):
        raise UsageError(f"{target}: inside the bundle; choose a path outside")
    with _staging(target) as (folder, put):
        written = folder / target.name
        with zipfile.ZipFile(written, "x") as archive:
            for name in sorted([*sums(bundle.path), SUMS]):
                entry = zipfile.ZipInfo(f"{bundle.manifest.name}/{name}", _DATE)
                entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # as on Unix, on any system
                path = place(bundle.path, name)
                entry.file_size = path.stat().st_size  # decides whether zip64 is used
                with open(path, "rb") as source, archive.open(entry, "w") as stream:
                    shutil.copyfileobj(source, stream, _BLOCK)
        digest = sha256(written)
        put(written)
    return digest


def unpack(path: Path, target: Path | None = None, wanted: str | None = None) -> Bundle:
    """Unpack a zip to a new folder, by default in the working directory with the bundle's name.

    Atomic: checksums are checked before the folder gets its name. ``wanted`` is the sha256 that the zip or the bundle
    must have. Raises BundleError, or UsageError if ``target`` exists.
    """
    with _staging(target or Path("bundle")) as (folder, put):
        extracted = _extracted(path, folder, wanted)
        target = target or Path(extracted.manifest.name)
        if os.path.lexists(target):
            raise UsageError(f"{target} already exists: choose another path with -o")
        put(extracted.path, target)
    return read(target)


def install(
    source: Path, name: str | None, force: bool, wanted: str | None, check: Callable[[Bundle], object]
) -> Bundle:
    """Copy a bundle, a zip or a folder, to the user's folder under a name, by default its own.

    ``check`` raises BundleError for a bundle that must not be installed. An existing bundle with that name is replaced
    only after everything is copied and checked; without ``force``, raises UsageError instead.
    """
    if name is not None and not names.is_plain(name):
        raise UsageError(f"--name {quoted(name)}: must be a plain name")
    home = user_folder()
    home.mkdir(parents=True, exist_ok=True)
    with _staging(home / "bundle") as (folder, put):
        copy = _copied(source, folder, wanted) if source.is_dir() else _extracted(source, folder, wanted)
        name = name or copy.manifest.name
        existing = installed().get(name)
        if existing and existing.parent == bundled_folder() and not force:
            raise UsageError(f"{name} ships with sertool: --name OTHER, or --force to use this one instead")
        if os.path.lexists(home / name) and not force:
            raise UsageError(f"{name} is already installed: --force replaces it, --name OTHER keeps both")
        with _named_after(source, copy.path):
            check(copy)
        put(copy.path, home / name)
    return read(home / name)


def uninstall(name: str) -> Path:
    """Remove a bundle from the user's folder and return its path. Raise UsageError if it is not there."""
    bundles = {path.name: path for path in installed().values() if path.parent == user_folder()}
    if name not in bundles:
        why = "ships with sertool" if name in installed() else "is not installed"
        raise UsageError(f"{quoted(name)} {why} (installed: {', '.join(bundles) or 'none'})")
    with _staging(bundles[name]) as (folder, _):
        os.rename(bundles[name], folder / name)  # atomic, even if deleting its files fails
    return bundles[name]


@contextlib.contextmanager
def _staging(target: Path) -> Iterator[tuple[Path, _Put]]:
    """Yield a temporary folder next to ``target``, and put(path, target), which moves a result to its target.

    An existing target is deleted with the folder; if the move fails or is interrupted, it is restored.
    """
    parent = target.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"cannot write {target}: there is no folder {parent}")
    folder = Path(tempfile.mkdtemp(prefix=".sertool-", dir=parent))

    def put(path: Path, target: Path = target) -> None:
        before = folder / "before"
        try:
            if path.is_dir() and os.path.lexists(target):
                os.rename(target, before)
            os.replace(path, target)
        except BaseException:  # Ctrl-C too: the previous bundle must survive
            if os.path.lexists(before) and not os.path.lexists(target):
                os.rename(before, target)
            raise

    try:
        yield folder, put
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _named_after(source: Path, folder: Path) -> Iterator[None]:
    """Name ``source`` instead of ``folder``, a temporary copy, in BundleErrors."""
    try:
        yield
    except BundleError as error:
        raise BundleError(str(error).replace(str(folder), str(source))) from None


def _copied(source: Path, folder: Path, wanted: str | None) -> Bundle:
    """Copy the listed files of a bundle's folder and check their checksums."""
    manifest = read(source).manifest
    require_digest(source, wanted, digest(source))
    target = folder / "copy"
    listed = [*sums(source), SUMS]
    if sum(place(source, name).stat().st_size for name in listed) > names.LARGEST_BUNDLE:
        raise BundleError(f"{source}: larger than {names.LARGEST_BUNDLE / 1e9:g} GB")
    for name in listed:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place(source, name), target / name)
    copy = Bundle(target, manifest)
    with _named_after(source, target):
        check_sums(copy)
    return copy


def _extracted(path: Path, folder: Path, wanted: str | None) -> Bundle:
    """Extract the bundle in a zip to a new folder and check its checksums."""
    names.lone(path, names.LARGEST_BUNDLE)
    target = folder / "extracted"
    with _opened(path) as archive:
        top, entries = _entries(path, archive)
        for name, entry in entries.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as stream, open(target / name, "xb") as file:
                shutil.copyfileobj(stream, file, _BLOCK)
            if (target / name).stat().st_size != entry.file_size:
                raise BundleError(f"{path}: {quoted(name)} is not as long as the archive says")
    with _named_after(path / top, target):
        extracted = read(target)
        require_digest(path, wanted, sha256(path), digest(target))
        check_sums(extracted)
    return extracted


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip with a limit on its list of entries; turn exceptions of zipfile into BundleErrors."""
    try:
        with open(path, "rb") as stream, zipfile.ZipFile(_Limited(stream)) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise BundleError(f"{path}: not a zip of a bundle, or incomplete ({names.one_line(error)})") from None
    except (ValueError, OverflowError, LookupError, NotImplementedError, RuntimeError, EOFError) as error:
        raise BundleError(f"{path}: cannot be unpacked ({names.one_line(error)})") from None
    except (zlib.error, struct.error) as error:
        raise BundleError(f"{path}: damaged ({names.one_line(error)})") from None


class _Limited:
    """A file with a limit on the size of a read: zipfile reads the whole list of entries at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._size = stream, stream.seek(0, os.SEEK_END)
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int = -1) -> bytes:
        size = self._size - self.tell() if size < 0 else size
        if size > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile("its list of entries is too long")
        return self._stream.read(size)


def _entries(path: Path, archive: zipfile.ZipFile) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """Return (the zip's only folder, name in it -> entry); raise BundleError before anything is written."""
    all_entries = archive.infolist()
    if len(all_entries) > names.MOST_FILES:
        raise BundleError(f"{path}: more than {names.MOST_FILES} entries: not a bundle")
    for entry in all_entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        fault = None
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            fault = "a link or a device, not a file"
        elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
            fault = "encrypted, or not stored or deflated"
        elif entry.file_size > names.LARGEST_FILE:
            fault = f"larger than {names.LARGEST_FILE / 1e9:g} GB"
        if fault:
            raise BundleError(f"{path}: {quoted(entry.orig_filename)} is {fault}")
    total, size = sum(entry.file_size for entry in all_entries), path.stat().st_size
    if total > names.LARGEST_BUNDLE or total > HIGHEST_RATIO * size:
        raise BundleError(f"{path}: {total} bytes in {size}: too large or too compressible for a bundle")
    end = 0
    for entry in sorted(all_entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise BundleError(f"{path}: {quoted(entry.orig_filename)} overlaps another entry")
        end = entry.header_offset + 30 + entry.compress_size  # plus the name, in an unknown encoding
    # orig_filename is the name as stored: zipfile cuts filename at a NUL and turns \ into / on Windows
    files = {entry.orig_filename: entry for entry in all_entries if not entry.orig_filename.endswith("/")}
    if len(files) < sum(not entry.orig_filename.endswith("/") for entry in all_entries):
        raise BundleError(f"{path}: contains two files with the same name")
    names.check_paths(files, str(path))
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or f"{(top := tops.pop())}/{MANIFEST}" not in files:
        raise BundleError(f"{path}: does not contain exactly one folder with a {MANIFEST}: not the zip of a bundle")
    return top, {name.partition("/")[2]: entry for name, entry in files.items()}
