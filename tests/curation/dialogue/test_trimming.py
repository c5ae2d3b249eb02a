from __future__ import annotations

import pytest

from isaac.curation.dialogue.trimming import changes_polarity


@pytest.mark.parametrize(
    ("text", "trimmed", "changes"),
    [
        ("No , pets may stay elsewhere .", "Pets may stay elsewhere .", True),
        ("Sorry , pets can't stay .", "Pets can't stay .", False),
        ("Wow , pets may stay .", "Pets may stay .", False),
        ("No pets .", None, False),
    ],
)
def test_a_trimmed_text_still_denies_what_it_denied(
    text: str, trimmed: str | None, changes: bool
) -> None:
    assert changes_polarity(text, trimmed) == changes
