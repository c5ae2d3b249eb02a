"""Refusals, detected by their wording (English only)."""

from __future__ import annotations

import re

from ..corpus.formats.reasoning import without_reasoning

OPENING_CHARACTERS = 240
"""Number of characters at the beginning of a reply that are searched for a refusal."""

HELP_PATTERN = (
    "help(?! (?:but|it|feeling|myself))|assist|provide|give you|answer (?:that|this|your)|"
    "do (?:that|this|so)|support|engage|fulfil|fulfill|comply|create|write|generate|recommend|"
    "condone|share|discuss|offer|tell you|advise|participate|encourage|promote|continue|respond|"
    "be part|go along|agree to|in good conscience|and (?:won't|will not)"
)
"""What a refusal declines to do: the words after "I can't"."""

REFUSAL_FORMS = {
    "I can't help": rf"\bi (?:really |simply |just )?(?:can't|cannot|can not|could not|couldn't|"
    rf"won't|will not|wouldn't|would not|must not|shouldn't) (?:\w+ )?(?:{HELP_PATTERN})\b",
    "I won't be able to help": rf"\bi (?:won't|will not|wouldn't|would not|may not|might not) be "
    rf"(?:able|willing|allowed) to (?:\w+ )?(?:{HELP_PATTERN})\b|\bi(?:'ll| will) be unable to\b",
    "I'm not able to": r"\bi(?:'m| am) (?:not able|unable|not (?:going|willing|allowed|"
    r"permitted|authorized|authorised|programmed|designed)) to\b",
    "I'm sorry, but": r"\b(?:i'm|i am) (?:very |really |so )?sorry,? but (?:i|as|this|that|it)\b",
    "Sorry, I": r"^(?:sorry|apologies|i apologi[sz]e)\b[^.!?]{0,60}\b(?:can't|cannot|can not|won't|"
    r"unable|not able|don't feel)\b",
    "As an AI, I don't": r"\bas an? (?:ai|artificial|large language|language|chatbot|virtual|"
    r"digital|responsible|ethical)\b[^.!?]{0,80}\bi(?:'m| am)? (?:don't|do not|can't|cannot|"
    r"can not|won't|not|unable|must)\b",
    "I don't have the ability": r"\bi (?:don't|do not) have the (?:ability|capability|capacity|"
    r"authority|expertise|knowledge|means) to\b",
    "I must decline": r"\bi (?:must|have to|need to|respectfully|politely|will have to) "
    r"(?:\w+ )?(?:decline|refuse)\b",
    "I'd rather not": r"\bi(?:'d| would) (?:rather|prefer) not\b",
    "not comfortable": r"\bi(?:'m| am) not comfortable\b|\bi do(?:n't| not) feel comfortable\b",
    "not appropriate": r"\b(?:it is|it's|it would be|that is|that's|this is|it would) (?:not|n't) "
    r"(?:be )?(?:appropriate|ethical|acceptable|something i can)\b|"
    r"\b(?:it|that|this) isn't (?:appropriate|ethical|acceptable|something i can)\b",
    "against my guidelines": r"\b(?:against|violates?|goes against) (?:my|our|the) (?:\w+ )?"
    r"(?:guidelines|policy|policies|programming|principles|values)\b",
}
"""The forms of a refusal, each with the pattern that matches it."""

REFUSAL_PATTERN = re.compile("|".join(f"(?:{form})" for form in REFUSAL_FORMS.values()))

QUOTATION = re.compile(r'"[^"]*"|“[^”]*”|«[^»]*»')
"""A quotation: what it declines, somebody else does."""

PARTIAL_HELP = re.compile(
    r"\b(?:but|however|instead|still|that said|what i can)\b[^.!?]{0,80}?\b(?:here(?:'s| is| are)|"
    r"you (?:can|could|may|might)|i can (?:tell|explain|share|say|suggest|give|describe)|generally|"
    r"typically|usually|in general|most)\b"
)
"""The turn from what a reply declines to what it offers in its place."""

MIN_HELP_WORDS = 25
"""How many words after that turn are help, and not the offer of another topic."""


def is_refusal(reply: str) -> bool:
    """Whether a reply begins with one of the `REFUSAL_FORMS` and offers nothing in its place.

    A block of thinking before the reply, and quotations in it, do not count. Refusals in other
    words or languages are missed.
    """
    text = _fold(without_reasoning(reply))
    found = REFUSAL_PATTERN.search(text[:OPENING_CHARACTERS])
    if found is None:
        return False
    turn = PARTIAL_HELP.search(text, found.start())
    return turn is None or len(text[turn.end() :].split()) < MIN_HELP_WORDS


def _fold(reply: str) -> str:
    """Fold case, apostrophes and white space, and leave quotations out but one of the whole."""
    text = " ".join(reply.casefold().replace("’", "'").split()).strip("*_ ")
    whole = QUOTATION.fullmatch(text)
    text = text[1:-1] if whole else QUOTATION.sub(" ", text)
    return text.lstrip("\"'“*_ ")
