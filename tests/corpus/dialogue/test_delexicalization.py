from __future__ import annotations

import json
import random
import time
import zipfile
from pathlib import Path

import pytest

from isaac.corpus.dialogue.delexicalization import (
    delexicalize,
    lexicalize,
    placeholder_name,
    template_slots,
)
from isaac.corpus.dialogue.readers import READERS, iter_records
from isaac.corpus.dialogue.schema import Act, Dialogue, DialogueTurn, Span
from isaac.corpus.dialogue.value_lexicon import Lexicon
from isaac.errors import CorpusError
from isaac.evaluate.dialogue.round_trip import count_leaks, measure_round_trip

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "multiwoz21"

LEXICON = Lexicon.from_values(
    [
        ("hotel_name", "fern lodge"),
        ("hotel_name", "the a and b guest house"),
        ("hotel_area", "centre"),
        ("restaurant_area", "centre"),
        ("restaurant_name", "ask"),
        ("train_departure", "ely"),
        ("train_destination", "ely"),
        ("hotel_address", "saint mary's street"),
        ("hotel_phone", "01223000111"),
    ]
)


def turn(text: str, *acts: Act, spans: tuple[Span, ...] = ()) -> DialogueTurn:
    return DialogueTurn(1, "assistant", text, acts, spans)


def template(text: str, *acts: Act, lexicon: Lexicon = LEXICON) -> str:
    made = delexicalize(turn(text, *acts), lexicon)
    assert lexicalize(made.text, made.values) == text
    return made.text


def test_spans_come_first_and_equal_values_share_a_placeholder() -> None:
    text = "Fern Lodge or Oak Inn ? fern lodge is cheaper , Oak Inn has 4 stars ."
    spans = (Span("hotel_name", 0, 10), Span("hotel_name", 14, 21))
    made = delexicalize(turn(text, spans=spans), Lexicon())
    assert made.text == (
        "[hotel_name] or [hotel_name_2] ? [hotel_name] is cheaper , [hotel_name_2] has "
        "[value_count] stars ."
    )
    assert made.values["hotel_name"] == ("Fern Lodge", "fern lodge")
    assert lexicalize(made.text, made.values) == text
    assert template_slots(made) == ("hotel_name", "hotel_name_2", "value_count")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Come at 9:15 pm or 21.30 .", "Come at [value_time] or [value_time_2] ."),
        ("It is 12.50 pounds or £9 .", "It is [value_price] or [value_price_2] ."),
        ("Call +44 1223 902168 now", "Call [value_phone] now"),
        ("Call (415) 555-1234 now", "Call [value_phone] now"),
        ("at CB2 1AB , ref A1B2C3D4 .", "at [value_postcode] , ref [value_reference] ."),
        ("ref QWERTZUI .", "ref [value_reference] ."),
        ("TR1234 on Monday , two seats", "[train_id] on [value_day] , [value_count] seats"),
        ("mail a.b@ex.org or www.ex.org/x", "mail [value_email] or [value_url]"),
        ("on 2024-03-01 or March 3rd", "on [value_date] or [value_date_2]"),
        ("order AB-77 and 4-star", "order [value_code] and [value_count]-star"),
        ("1,029 trains , which one ?", "[value_count] trains , which one ?"),
        ("Nothing to take out here .", "Nothing to take out here ."),
    ],
)
def test_values_are_found_by_their_form(text: str, expected: str) -> None:
    assert template(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the Fern Lodge .", "[hotel_name] ."),
        ("the A & B guesthouse", "[hotel_name]"),
        ("on Saint Mary 's Street .", "on [hotel_address] ."),
        ("in the center of town", "in the [value_area] of town"),
        ("May I ask ? Try Ask .", "May I ask ? Try [restaurant_name] ."),
        ("from Ely to Ely", "from [train_departure] to [train_destination]"),
        ("Ely .", "[value_place] ."),
        ("fern lodges", "fern lodges"),
    ],
)
def test_values_are_found_by_the_lexicon(text: str, expected: str) -> None:
    assert template(text) == expected


def test_acts_provide_the_domain_and_values_without_spans() -> None:
    area = Act("restaurant", "inform", "area", "centre")
    assert template("In the center .", area) == "In the [restaurant_area] ."
    stars = Act("hotel", "inform", "stars", "4")
    assert template("It has four stars .", stars) == "It has [hotel_stars] stars ."
    parking = Act("hotel", "inform", "parking", "yes")
    assert template("yes , call 01223999888 .", parking) == "yes , call [hotel_phone] ."


def test_what_looks_like_a_placeholder_is_kept_as_text() -> None:
    text = "Type [hotel_name] or [hotel_name_2] , [x] , [a b] , at 9:15 ."
    made = delexicalize(turn(text), LEXICON)
    assert (
        made.text == "Type [value_literal] or [value_literal_2] , [x] , [a b] , at [value_time] ."
    )
    assert lexicalize(made.text, made.values) == text


def test_a_template_is_filled_with_the_rows_own_values_or_not_at_all() -> None:
    drawn = delexicalize(
        turn("Oak Inn costs 5 pounds .", spans=(Span("hotel_name", 0, 7),)), LEXICON
    )
    own = {"hotel_name": ("Fern Lodge",), "value_price": ("9 pounds",)}
    assert lexicalize(drawn.text, own) == "Fern Lodge costs 9 pounds ."
    assert lexicalize(drawn.text, {"hotel_name": ("Fern Lodge",)}) is None
    assert lexicalize("[hotel_name_2]", own) is None
    assert lexicalize("[hotel_name] , [hotel_name]", {"hotel_name": ("[value_price]",)}) == (
        "[value_price] , [value_price]"
    )


def test_slot_names_are_made_fit_for_placeholders() -> None:
    assert placeholder_name("Order Number") == "order_number"
    assert placeholder_name("shop_line_2") == "shop_line2"
    assert placeholder_name("city") == "value_city"
    assert placeholder_name("-") == "value_text"
    assert template_slots(f"[{placeholder_name('x' * 500)}]")


def test_any_text_is_restored_word_for_word() -> None:
    parts = ["[hotel_name]", "fern lodge", "9:15", "\x00", "İ", "ſ", " ", "4", "é", "[", "]", "\n"]
    draw = random.Random(3)
    for _ in range(400):
        text = "".join(draw.choices(parts, k=draw.randint(0, 12)))
        start = draw.randint(-2, 12)
        spans = (Span("hotel_stars", start, start + draw.randint(-1, 9)), Span("a b", 2, 5))
        made = delexicalize(turn(text, Act("hotel", "x", "name", "4"), spans=spans), LEXICON)
        assert lexicalize(made.text, made.values) == text


@pytest.mark.parametrize("part", ["a-", "1,", "[a_", "a.", "9 ", "(", "TR", "1:", "AB1-", "ely "])
def test_long_texts_take_linear_time(part: str) -> None:
    start = time.process_time()
    delexicalize(turn(part * (60_000 // len(part))), LEXICON)
    assert time.process_time() - start < 3


def test_a_lexicon_of_a_database(tmp_path: Path) -> None:
    rows = [{"name": "oak inn", "area": "east", "type": "hotel", "phone": "?", "id": "3", "n": 4}]
    (tmp_path / "hotel_db.json").write_text(json.dumps(rows))
    (tmp_path / "taxi_db.json").write_text(
        json.dumps({"taxi_colors": ["red"], "taxi_types": ["audi"]})
    )
    (tmp_path / "ontology.json").write_text(json.dumps({"hotel-name": ["elm", "to"], "x-food": 1}))
    lexicon = Lexicon.read(tmp_path)
    found = {
        text: [hit.slots for hit in lexicon.find(text)]
        for text in ("Oak Inn", "red Audi", "the Elm", "to", "hotel", "3")
    }
    assert found == {
        "Oak Inn": [("hotel_name",)],
        "red Audi": [("taxi_car",)],
        "the Elm": [("hotel_name",)],
        "to": [],
        "hotel": [],
        "3": [],
    }
    with pytest.raises(CorpusError, match="no <domain>_db"):
        Lexicon.read(tmp_path / "none")
    (tmp_path / "hotel_db.json").write_text("{")
    with pytest.raises(CorpusError, match="cannot be read as JSON"):
        Lexicon.read(tmp_path)


def test_a_lexicon_of_the_corpus_itself_skips_common_words() -> None:
    known = turn("Oak Inn is fine", spans=(Span("hotel_name", 0, 7), Span("hotel_area", 11, 15)))
    others = [turn("That is fine") for _ in range(3)]
    lexicon = Lexicon.of([Dialogue("a", (known, *others))])
    assert [hit.slots for hit in lexicon.find("the oak inn is fine")] == [("hotel_name",)]


def test_the_round_trip_is_measured() -> None:
    dialogue = Dialogue(
        "a", (turn("Fern Lodge at 9:15"), turn("Hello"), DialogueTurn(0, "user", "9:15"))
    )
    assert measure_round_trip([dialogue], LEXICON) == (2, 2, 1.0, 1.0)
    lost = measure_round_trip(
        [dialogue], LEXICON, lambda template: template.text.replace("[value_time]", "9:20")
    )
    assert (lost.turns, lost.verbatim, lost.share) == (2, 1, 0.5)
    none = measure_round_trip([dialogue], LEXICON, lambda template: None)
    assert (none.verbatim, none.precision, none.recall) == (0, 1.0, 0.0)
    mixed = measure_round_trip([dialogue], LEXICON, lambda template: "Fern Lodge at 9:20")
    assert (mixed.precision, mixed.recall) == (0.25, 0.5)
    assert measure_round_trip([], LEXICON).share == 1.0


def test_leaks_are_counted_by_slot() -> None:
    shown = turn("one or two", Act("hotel", "inform", "choice", "two"))
    assert count_leaks([Dialogue("a", (shown,))], LEXICON) == {"choice": (1, 0)}


@pytest.mark.skipif(not DATA.exists(), reason="the shared MultiWOZ 2.1 is not available")
def test_multiwoz21_is_restored_and_hardly_any_value_leaks() -> None:
    with zipfile.ZipFile(DATA / "val.json.zip") as packed:
        document = json.loads(packed.read(packed.namelist()[0]))
    some = dict(list(document.items())[:150])
    dialogues = [READERS["multiwoz21"].read(record) for record in iter_records(some)]
    lexicon = Lexicon.read(DATA / "db")
    assert measure_round_trip(dialogues, lexicon).share == 1.0
    found = count_leaks(dialogues, lexicon)
    assert sum(leak.left for leak in found.values()) <= 0.005 * sum(k.shown for k in found.values())
    bare = [
        Dialogue(d.id, tuple(DialogueTurn(t.index, t.role, t.text) for t in d.turns))
        for d in dialogues
    ]
    assert measure_round_trip(bare, lexicon).share == 1.0
