"""URLs of recordings: what is one, what identifies it, and what of it must not be shown."""

import re
from urllib.parse import quote, unquote

_URL = re.compile(r"[a-z][a-z0-9+.\-]+(::|://)", re.IGNORECASE)
#: Begins the URL of a member of an archive: member://NAME, quoted, ::ARCHIVE, a path or URL.
_MEMBER = "member://"


def is_url(text: str) -> bool:
    """Return whether a path is a URL of fsspec, perhaps a chain such as zip://a.wav::s3://bucket/a.zip."""
    return "://" in text and bool(_URL.match(text))


def member_url(archive: str, member: str) -> str:
    """Return the URL of a member of an archive, whatever characters its name has."""
    return f"{_MEMBER}{quote(member, errors='surrogateescape')}::{archive}"


def split_member(url: str) -> tuple[str, str] | None:
    """Return (archive, member) of a URL of `member_url`, else None."""
    if not url.startswith(_MEMBER):
        return None
    member, _, archive = url.removeprefix(_MEMBER).partition("::")
    return archive, unquote(member, errors="surrogateescape")


def without_secrets(url: str) -> str:
    """Return a URL without user and password, and without what follows the path of a web address (signatures)."""
    if found := split_member(url):
        archive, member = found
        return member_url(without_secrets(archive) if is_url(archive) else archive, member)
    return "::".join(_without_secrets(part) for part in url.split("::"))


def hidden(text: str) -> str:
    """Return a message without the secrets of the URLs in it."""
    return re.sub(
        r"[a-z][a-z0-9+.\-]+://[^\s'\"<>]+", lambda found: without_secrets(found[0]), text, flags=re.IGNORECASE
    )


def base_of(url: str) -> str:
    """Return the last part of a URL's path."""
    found = split_member(url)
    path = found[1] if found else _without_secrets(url.split("::")[0]).rstrip("/")
    return path.rpartition("/")[2] or "audio"


def _without_secrets(part: str) -> str:
    scheme, mark, rest = part.partition("://")
    if not mark:
        return part
    host, slash, path = rest.partition("/")
    if scheme.lower() in ("http", "https"):
        path = re.split(r"[?#]", path, maxsplit=1)[0]
        host = re.split(r"[?#]", host, maxsplit=1)[0]
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
