"""Bundles on their way: packed into one file, unpacked, installed under a name, removed again."""

import contextlib
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sertool.bundle import names
from sertool.bundle.folder import MANIFEST, SUMS, Bundle, check_sums, digest, place, read, require_digest, sha256, sums
from sertool.bundle.names import quoted
from sertool.bundle.store import bundled_folder, installed, user_folder
from sertool.errors import BundleError, UsageError

#: Of what an archive holds to what it takes. Of weights it is about 1; 1000 is what deflate can do to zeros.
HIGHEST_RATIO = 100

_LARGEST_DIRECTORY = 1 << 20  # bytes of the list of entries
_DATE = (1980, 1, 1, 0, 0, 0)  # zip's first
_BLOCK = 1 << 20


def pack(bundle: Bundle, target: Path, force: bool = False) -> str:
    """Write a bundle, its sums checked first, as one zip, whole or not at all; the zip's sha256.

    The same bundle gives the same bytes on any machine: sorted, dated 1980, under the bundle's name, and not
    compressed, as each version of zlib compresses to other bytes, and weights to few less. UsageError if ``target`` is
    there already, unless ``force``.
    """
    if os.path.lexists(target) and not force:
        raise UsageError(f"{target} is there already: --force replaces it, -o says where else")
    check_sums(bundle)
    if target.resolve().is_relative_to(bundle.path.resolve()):
        raise UsageError(f"{target}: within the bundle; it would be part of itself")
    with _beside(target) as (folder, put):
        written = folder / target.name
        with zipfile.ZipFile(written, "x") as archive:
            for name in sorted([*sums(bundle.path), SUMS]):
                entry = zipfile.ZipInfo(f"{bundle.manifest['name']}/{name}", _DATE)
                entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # as Unix does, anywhere
                path = place(bundle.path, name)
                entry.file_size = path.stat().st_size  # decides on zip64
                with open(path, "rb") as source, archive.open(entry, "w") as stream:
                    shutil.copyfileobj(source, stream, _BLOCK)
        found = sha256(written)
        put(written)
    return found


def unpack(path: Path, target: Path | None = None, wanted: str | None = None) -> Bundle:
    """The bundle in a zip as a new folder, by default in the working directory under its own name.

    All or nothing: its sums are checked before the folder takes its name. ``wanted`` is the sha256 that the zip or
    the bundle must have. Raises BundleError, or UsageError if ``target`` is there already.
    """
    with _beside(target or Path("bundle")) as (folder, put):
        found = _extracted(path, folder, wanted)
        target = target or Path(found.manifest["name"])
        if os.path.lexists(target):
            raise UsageError(f"{target} is there already: say where else with -o")
        put(found.path, target)
    return read(target)


def install(
    source: Path, name: str | None, force: bool, wanted: str | None, check: Callable[[Bundle], object]
) -> Bundle:
    """Copy a bundle, a zip or a folder, into the user's folder under a name, by default its own.

    ``check`` raises BundleError for a bundle that must not be installed. Until all is copied and checked, a bundle of
    that name stays as it was; without ``force`` it is not replaced at all (UsageError).
    """
    if name is not None and not names.is_plain(name):
        raise UsageError(f"--name {quoted(name)}: must be a plain name")
    home = user_folder()
    home.mkdir(parents=True, exist_ok=True)
    with _beside(home / "bundle") as (folder, put):
        found = _copied(source, folder, wanted) if source.is_dir() else _extracted(source, folder, wanted)
        name = name or found.manifest["name"]
        there = installed().get(name)
        if there and there.parent == bundled_folder() and not force:
            raise UsageError(f"{name} ships with sertool: --name OTHER, or --force to put this one before it")
        if os.path.lexists(home / name) and not force:
            raise UsageError(f"{name} is installed already: --force replaces it, --name OTHER keeps both")
        with _named_after(source, found.path):
            check(found)
        put(found.path, home / name)
    return read(home / name)


def uninstall(name: str) -> Path:
    """Remove a bundle from the user's folder; where it was. UsageError if none of that name is there."""
    own = {path.name: path for path in installed().values() if path.parent == user_folder()}
    if name not in own:
        why = "ships with sertool" if name in installed() else "is not installed"
        raise UsageError(f"{quoted(name)} {why} (yours are: {', '.join(own) or 'none'})")
    with _beside(own[name]) as (folder, _):
        os.rename(own[name], folder / name)  # gone at once, whatever becomes of its files
    return own[name]


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[tuple[Path, Callable]]:
    """A folder beside ``target`` that goes away, and put(path, target), which moves what was made there to its place.

    What stood there goes away with the folder; if the move fails or is broken off, it is put back.
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
        except BaseException:
            if os.path.lexists(before) and not os.path.lexists(target):
                os.rename(before, target)
            raise

    try:
        yield folder, put
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _named_after(source: Path, folder: Path) -> Iterator[None]:
    """Faults of a copy, soon gone, are told as those of the file or folder that it was made from."""
    try:
        yield
    except BundleError as error:
        raise BundleError(str(error).replace(str(folder), str(source))) from None


def _copied(source: Path, folder: Path, wanted: str | None) -> Bundle:
    """A copy of a bundle's folder, made of the files that it lists, with sums as they must be."""
    manifest = read(source).manifest
    require_digest(source, wanted, digest(source))
    target = folder / "copy"
    listed = [*sums(source), SUMS]
    if sum(place(source, name).stat().st_size for name in listed) > names.LARGEST_BUNDLE:
        raise BundleError(f"{source}: larger than {names.LARGEST_BUNDLE / 1e9:g} GB")
    for name in listed:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place(source, name), target / name)
    found = Bundle(target, manifest)
    with _named_after(source, target):
        check_sums(found)
    return found


def _extracted(path: Path, folder: Path, wanted: str | None) -> Bundle:
    """The bundle in a zip, in a new folder, with sums as they must be."""
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
        found = read(target)
        require_digest(path, wanted, sha256(path), digest(target))
        check_sums(found)
    return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip, whose list of entries is not too large to be read; whatever zipfile raises is a BundleError."""
    try:
        with open(path, "rb") as stream, zipfile.ZipFile(_Limited(stream)) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise BundleError(f"{path}: not a zip of a bundle, or not all of it ({names.one_line(error)})") from None
    except (ValueError, OverflowError, LookupError, NotImplementedError, RuntimeError, EOFError) as error:
        raise BundleError(f"{path}: cannot be unpacked ({names.one_line(error)})") from None
    except (zipfile.zlib.error, zipfile.struct.error) as error:
        raise BundleError(f"{path}: damaged ({names.one_line(error)})") from None


class _Limited:
    """A file that is not read a lot of at once: zipfile reads the list of entries in one go, however long."""

    def __init__(self, stream):
        self._stream, self._size = stream, stream.seek(0, os.SEEK_END)
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int = -1) -> bytes:
        size = self._size - self.tell() if size < 0 else size
        if size > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile("its list of entries is too long")
        return self._stream.read(size)


def _entries(path: Path, archive: zipfile.ZipFile) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """(the one folder in it, name in there -> entry) of a zip; BundleError before anything is written."""
    all_entries = archive.infolist()
    if len(all_entries) > names.MOST_FILES:
        raise BundleError(f"{path}: more than {names.MOST_FILES} entries: not a bundle")
    for entry in all_entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        fault = None
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            fault = "a link or a device, not a file"
        elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
            fault = "encrypted, or compressed unlike zip's usual way"
        elif entry.file_size > names.LARGEST_FILE:
            fault = f"larger than {names.LARGEST_FILE / 1e9:g} GB"
        if fault:
            raise BundleError(f"{path}: {quoted(entry.orig_filename)} is {fault}")
    total, size = sum(entry.file_size for entry in all_entries), path.stat().st_size
    if total > names.LARGEST_BUNDLE or total > HIGHEST_RATIO * size:
        raise BundleError(f"{path}: holds {total} bytes in {size}: no bundle is that large, or that compressible")
    end = 0
    for entry in sorted(all_entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise BundleError(f"{path}: {quoted(entry.orig_filename)} overlaps another entry")
        end = entry.header_offset + 30 + entry.compress_size  # and the name, in an encoding that may be any
    # orig_filename is the name as it stands there: zipfile cuts filename at a NUL and turns \ into / on Windows
    files = {entry.orig_filename: entry for entry in all_entries if not entry.orig_filename.endswith("/")}
    if len(files) < sum(not entry.orig_filename.endswith("/") for entry in all_entries):
        raise BundleError(f"{path}: holds two files of one name")
    names.check_paths(files, str(path))
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or f"{(top := tops.pop())}/{MANIFEST}" not in files:
        raise BundleError(f"{path}: does not hold one folder with a {MANIFEST} in it: not the zip of a bundle")
    return top, {name.partition("/")[2]: entry for name, entry in files.items()}
