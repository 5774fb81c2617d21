"""NAME:key=value,key=value: how a registered thing and its options are written in one argument."""

import re
import tomllib

from sertool.errors import UsageError


def named_options(text: str) -> tuple[str, dict]:
    """ "room:folder=a b/,low=3" to its name and options; UsageError for what is not written so.

    The options are TOML as a whole if they are that, else value by value in TOML or bare text.
    """
    name, _, options = text.partition(":")
    try:
        return name, _toml(f"{{{options}}}")
    except tomllib.TOMLDecodeError:
        pass  # bare text among the values
    table = {}
    for pair in re.split(r",(?=\s*[\w-]+\s*=)", options):  # a comma within a value splits nothing
        key, equals, value = pair.partition("=")
        if not (equals and key.strip()):
            raise UsageError(f"{text}: write NAME:key=value,key=value")
        try:
            table[key.strip()] = _toml(value)
        except tomllib.TOMLDecodeError:
            table[key.strip()] = value
    return name, table


def _toml(value: str):
    return tomllib.loads(f"value = {value}")["value"]
