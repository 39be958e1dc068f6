"""JSON of our own files as the values it stands for, by threads side by side."""

from __future__ import annotations

from threading import Lock
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_decoders: dict[type, msgspec.json.Decoder[Any]] = {}
_making = Lock()


def decode(raw: bytes, kind: type[T]) -> T:
    """`raw` as a `kind`. Raises msgspec.DecodeError, UnicodeDecodeError; that and no more, whatever is in the file.

    msgspec looks into a type when that is first decoded, and shows other threads what it has found so far: they would
    crash. So decoders are made one at a time.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        with _making:
            decoder = _decoders.setdefault(kind, msgspec.json.Decoder(kind))
    try:
        value: T = decoder.decode(raw)
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deeply") from None
    return value
