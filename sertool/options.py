"""Parse NAME:key=value,key=value: the name of a registered object and its options in one argument."""

import re
import tomllib
from typing import Any

from sertool.errors import UsageError


def named_options(text: str) -> tuple[str, dict[str, Any]]:
    """Parse "room:folder=a b/,low=3" into a name and options. Raise UsageError if the syntax is wrong.

    The options are parsed as one TOML table if they are valid TOML, else value by value as TOML or bare text.
    """
    name, _, options = text.partition(":")
    try:
        return name, _toml(f"{{{options}}}")
    except tomllib.TOMLDecodeError:
        pass  # some values are bare text
    table = {}
    for pair in re.split(r",(?=\s*[\w-]+\s*=)", options):  # a comma within a value does not split
        key, equals, value = pair.partition("=")
        if not (equals and key.strip()):
            raise UsageError(f"{text}: write NAME:key=value,key=value")
        try:
            table[key.strip()] = _toml(value)
        except tomllib.TOMLDecodeError:
            table[key.strip()] = value
    return name, table


def _toml(value: str) -> Any:
    return tomllib.loads(f"value = {value}")["value"]
