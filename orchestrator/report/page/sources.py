"""Addresses of audio that the page may play: files beside it, files of this machine, and audio in the page itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

REFUSED = "its address is neither a file nor audio in the page"


def playable(audio: Mapping[str, Any] | None) -> dict[str, Any]:
    """`{src, start, seconds, why}` of an utterance; `src` is None, with the reason, where it can't be played."""
    found = {"src": None, "start": None, "seconds": None, "why": None} | dict(audio or {})
    if found["src"] is not None and not allowed(str(found["src"])):
        return found | {"src": None, "why": REFUSED}
    return found


def allowed(address: str) -> bool:
    """Whether an address loads nothing from a network: relative, `file:` of this machine, or `data:audio/…`."""
    if any(ord(sign) < 32 or sign == "\\" for sign in address) or address != address.strip():
        return False  # browsers drop control signs and read \ as /, so that it would be another address
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if parts.scheme == "data":
        return address.lower().startswith("data:audio/")
    return parts.scheme in ("", "file") and not parts.netloc
