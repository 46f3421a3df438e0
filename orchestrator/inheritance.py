"""Inheritance of space files: `extends` takes another file over, definition by definition, and `values` other axis values.

A tiny twin of a large space is then the same grid, in which 2000 codes are 20 and a corpus is a synthetic one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SECTIONS = ("corpora", "encoders", "decoders", "recipes", "prompts")
"""Definitions by name: those of the extending file replace those of the same name."""


def extended(parent: Mapping[str, Any], child: Mapping[str, Any], problems: list[str] | None) -> dict[str, Any]:
    """The content of a file that extends another one.

    Args:
        parent, child: contents of two files. Of the child, `values` maps axis → value of the parent → its own value.
        problems: gets what is wrong with `values`; None for a child that many parents share, of which each has its part.
    """
    own = {key: value for key, value in child.items() if key not in ("extends", "values")}
    merged = {**parent, **own}
    if "name" not in child:
        merged.pop("name", None)  # a file is named by itself
    for section in SECTIONS:
        above, below = parent.get(section, {}), child.get(section, {})
        if isinstance(above, Mapping) and isinstance(below, Mapping) and (above or below):
            merged[section] = {**above, **below}
    values = child.get("values", {})
    if not isinstance(values, Mapping) or not all(isinstance(v, Mapping) for v in values.values()):
        if problems is not None:
            problems.append("values: expected a mapping of axes to mappings of values, {codebook: {2000: 20}}")
        return merged
    used: set[tuple[str, Any]] = set()
    for key in ("common", "grid"):  # published figures stay with the cells that they are of
        if key in merged and key not in child:
            merged[key] = _replaced(merged[key], values, used)
    for axis, mapping in values.items() if problems is not None else ():
        for value in mapping:
            if (axis, str(value)) not in used:
                problems.append(f"values.{axis}.{value}: the space that is extended has no {axis} {value}")
    return merged


def _replaced(content: Any, values: Mapping[str, Any], used: set[tuple[str, Any]]) -> Any:
    if isinstance(content, list):
        return [_replaced(item, values, used) for item in content]
    if not isinstance(content, Mapping):
        return content
    return {
        key: _axis(value, key, values[key], used) if key in values else _replaced(value, values, used)
        for key, value in content.items()
    }


def _axis(value: Any, axis: str, mapping: Mapping[Any, Any], used: set[tuple[str, Any]]) -> Any:
    """An axis with other values; two that become the same are one."""
    known = {str(old): new for old, new in mapping.items()}
    items = value if isinstance(value, list) else [value]
    used |= {(axis, str(item)) for item in items if str(item) in known}
    found = list({str(new): new for new in (known.get(str(item), item) for item in items)}.values())
    return found if isinstance(value, list) else found[0]
