from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from typing import Any

from isaac.evaluate.dialogue.pollution import load_word_list
from isaac.evaluate.dialogue.tokens import PhraseMatcher, split_words

BOOKINGS = (files("isaac") / "data" / "bookings.jsonl").read_text(encoding="utf-8")
ROWS: list[dict[str, Any]] = [json.loads(line) for line in BOOKINGS.splitlines()]
REPLIES = [message for row in ROWS for message in row["messages"][1::2]]


def test_there_are_sixty_dialogues_of_alternating_turns() -> None:
    assert len({row["dialogue_id"] for row in ROWS}) == len(ROWS) == 60
    assert len(BOOKINGS.encode()) < 250_000
    for row in ROWS:
        assert set(row) == {"dialogue_id", "messages"}
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert 4 <= len(roles) // 2 <= 8
        assert all(message["content"].strip() for message in row["messages"])
        assert all(set(message) == {"role", "content"} for message in row["messages"][::2])


def test_the_replies_contain_their_values_verbatim_and_in_order() -> None:
    assert any(len(values) > 1 for reply in REPLIES for values in reply["slots"].values())
    for reply in REPLIES:
        assert set(reply) == {"role", "content", "act", "slots", "label"}
        for slot, values in reply["slots"].items():
            assert re.fullmatch(r"[a-z]+_[a-z]+", slot)
            places = [re.search(rf"\b{re.escape(value)}\b", reply["content"]) for value in values]
            starts = [place.start() for place in places if place]
            assert starts == sorted(starts)
            assert len(starts) == len(values) > 0


def test_every_digit_belongs_to_an_annotated_value() -> None:
    for reply in REPLIES:
        rest = reply["content"]
        for value in sorted((v for vs in reply["slots"].values() for v in vs), key=len)[::-1]:
            rest = rest.replace(value, "")
        assert not re.search(r"\d", rest), reply["content"]


def test_acts_are_sorted_distinct_and_name_the_domain_of_every_slot() -> None:
    for reply in REPLIES:
        acts = reply["act"]
        assert acts == sorted(set(acts))
        assert acts
        assert all(re.fullmatch(r"[a-z]+-[a-z]+(-[a-z]+)?", act) for act in acts)
        named = {
            f"{domain}_{slot}" for domain, _, slot in (f"{act}-".split("-")[:3] for act in acts)
        }
        assert set(reply["slots"]) <= named


def test_many_acts_are_shared_and_some_are_rare() -> None:
    counts = Counter(tuple(reply["act"]) for reply in REPLIES)
    shared = sum(count for count in counts.values() if count >= 6) / len(REPLIES)
    assert 340 <= len(REPLIES) <= 390
    assert 0.5 <= shared <= 0.75
    assert min(counts.values()) == 1


def test_about_six_percent_of_the_replies_are_polluted_and_labeled_so() -> None:
    labels = Counter(reply["label"] for reply in REPLIES)
    assert set(labels) == {"clean", "polluted"}
    assert 0.05 <= labels["polluted"] / len(REPLIES) <= 0.07
    polluted = [reply["content"] for reply in REPLIES if reply["label"] == "polluted"]
    assert len(set(polluted)) == len(polluted)
    word_list = PhraseMatcher(load_word_list())
    clean = [reply["content"] for reply in REPLIES if reply["label"] == "clean"]
    assert not any(word_list.occurs_in(split_words(text), text) for text in clean)


def test_phone_numbers_are_from_the_range_reserved_for_fiction() -> None:
    numbers = re.findall(r"\b0\d{3,}[ \d]*\d", BOOKINGS)
    assert len(numbers) > 50
    assert all(re.fullmatch(r"01632 960\d{3}", number) for number in numbers)
