"""Responses of a system, of which many are written without their values already."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Container

from .delexicalization import LITERAL, PLACEHOLDER, delexicalize, slot_key
from .schema import Template, Turn
from .value_lexicon import Lexicon

WRITTEN = re.compile(r"\[\s*([^\W\d_]\w*(?:[ .-]\w+){0,2})\s*\]")
"""A placeholder as systems write it: ``[hotel_name]``, ``[name]``, ``[ hotel-name ]``."""


def delexicalized(text: str, lexicon: Lexicon) -> Template:
    """Return a response without its values, where the placeholders that it has are placeholders.

    What each of them looked like is kept as its value: `lexicalize` gives the text back word for
    word.
    """
    surfaces: dict[str, list[str]] = defaultdict(list)

    def plain(found: re.Match[str]) -> str:
        name = found[1].lower() if PLACEHOLDER.fullmatch(found[0]) else slot_key(found[1])
        surfaces[f"[{name}]"].append(found[0])
        return f"[{name}]"

    made = delexicalize(Turn(0, "assistant", WRITTEN.sub(plain, text)), lexicon)
    written = {name: iter(forms) for name, forms in surfaces.items()}
    values: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}
    for slot, forms in made.values.items():
        known = forms[0] in surfaces and slot.startswith(LITERAL)
        names[slot] = _free(forms[0][1:-1], {*made.values, *values}) if known else slot
        values[names[slot]] = tuple(next(written.get(form, iter((form,)))) for form in forms)
    return Template(PLACEHOLDER.sub(lambda found: f"[{names[found[1]]}]", made.text), values)


def _free(name: str, taken: Container[str]) -> str:
    """Return the name, or the name with the first number from 2 that is not taken."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return name if name not in taken else next(free for free in numbered if free not in taken)
