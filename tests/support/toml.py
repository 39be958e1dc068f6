"""Writes definitions: the standard library only reads TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping


def dump(table: Mapping[str, object], path: tuple[str, ...] = ()) -> str:
    """TOML of nested dicts of strings, numbers, booleans and lists; inner dicts become tables."""
    plain = [f"{_key(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    inner = [dump(value, (*path, key)) for key, value in table.items() if isinstance(value, Mapping)]
    head = [f"[{'.'.join(map(_key, path))}]"] if path else []
    return "\n".join([*head, *plain, "", *inner])


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else _string(key)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(str(key))} = {_value(item)}' for key, item in value.items())} }}"
    return _string(str(value))
