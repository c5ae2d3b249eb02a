from __future__ import annotations

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.evaluate.coherence import DEGENERATIONS, detect_degeneration
from isaac.evaluate.refusals import is_refusal

PROMPT = "How do I get a stain out of a white shirt?"

BROKEN = {
    "nothing": ("", "empty"),
    "blanks": (" \n\t ", "empty"),
    "dots": ("... !", "empty"),
    "letters drawn as blanks": ("\u3164 \u2800\u2800\uffa0", "empty"),
    "an accent without a letter": ("\u0301", "empty"),
    "the end of a text": ("</s>", "empty"),
    "the end of a turn": ("<|im_end|>\n", "empty"),
    "unknown tokens": ("<unk>" * 6, "empty"),
    "padding": ("[PAD] [PAD]", "empty"),
    "controls": ("ok \x00\x01\x02\x03 fine", "control characters"),
    "replacement characters": ("caf\ufffd\ufffd\ufffd is", "control characters"),
    "surrogates": ("hi \ud83d\ud83d\ud83d", "control characters"),
    "one word": ("well " * 40, "repetition"),
    "one phrase": ("You could try it. " + "I am not sure what to say. " * 9, "repetition"),
    "one line": ("- buy some soap\n" * 30, "repetition"),
    "a list in a loop": (
        " ".join(f"You should go to the shop and buy some {n}." for n in ("soap", "milk") * 12),
        "repetition",
    ),
    "one letter": ("a" * 90, "repetition"),
    "ideographs": ("我不知道" * 12, "repetition"),
    "brackets": ("]]}} ;;; {{{ ### @@@ ||| ~~~ >>>", "no words"),
    "one endless word": ("fa" + "mala" * 30, "no words"),
    "the prompt": ("how do i get a stain out of a white shirt", "echo"),
    "a passage of the prompt": ("get a stain out of a white shirt", "echo"),
    "the prompt and a word": (f"{PROMPT} Yes", "echo"),
    "the prompt three times": (f"{PROMPT} {PROMPT} {PROMPT}", "echo"),
}

ORDINARY = {
    "a word": "No.",
    "a number": "42",
    "an emoji": "👍",
    "a heart": "<3",
    "an HTML element": "Use <b>bold</b> here.",
    "laughter": "hahahahahaha",
    "a shout": "NOOOOOOOOOOOOOOO!!!!!!!!!!!!!",
    "a refrain": "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, "
    "merrily, life is but a dream.",
    "insistence": "Go go go go go! You can do it, you can do it, you can do it!",
    "a sum": "2 + 2 = 4; 3 * (4 - 1) = 9; 10 / 4 = 2.5",
    "code": "```python\nfor i in range(10):\n    print(f'{i}: {i ** 2}')\n```",
    "a list": "\n".join(f"{n}. {word}" for n, word in enumerate("Soap Salt Lemon Sun".split(), 1)),
    "similar steps": "First, rinse it with cold water. Then, rinse it with warm water. Last, rinse "
    "it with soap and hot water, and let it dry in the sun for a day or two.",
    "abbreviations": "Use TLS, SSH, DNS, HTTP and XML with the JSON API, then send it by SMS.",
    "German": "Donaudampfschifffahrtsgesellschaftskapitän ist ein langes Wort.",
    "Welsh and Czech": "Cwm, crwth, hwyl; strč prst skrz krk, zmrzl.",
    "Chinese": "先用冷水冲洗，然后涂上肥皂，放置十分钟后再洗。",
    "Japanese": "まず冷たい水ですすいで、石けんをつけてから洗ってください。",
    "Arabic": "اشطف القميص بالماء البارد ثم ضع الصابون.",
    "Thai": "ล้างด้วยน้ำเย็นก่อนแล้วทาสบู่ทิ้งไว้สิบนาที",
    "Hindi": "पहले ठंडे पानी से धोएँ, फिर साबुन लगाएँ।",
    "Persian with joiners": "می‌توانید آن را با آب سرد بشویید.",
    "a link": "See https://example.org/a/very/long/path?with=many&parameters=and-more-of-them-here",
    "prompt and answer": "How do I get a stain out of a white shirt? I soak it in cold water "
    "with salt overnight and wash it hot the next morning.",
}


@pytest.mark.parametrize("name", BROKEN)
def test_replies_that_say_nothing_are_broken(name: str) -> None:
    reply, degeneration = BROKEN[name]
    assert detect_degeneration(PROMPT, reply) == degeneration
    assert degeneration in DEGENERATIONS


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_text_of_any_kind_passes(name: str) -> None:
    assert detect_degeneration(PROMPT, ORDINARY[name]) is None


def test_returning_a_short_greeting_is_not_an_echo() -> None:
    assert detect_degeneration("Good morning!", "Good morning!") is None
    assert detect_degeneration("", "Good morning!") is None


def test_every_row_of_the_bundled_corpus_passes() -> None:
    text = (files("isaac") / "data" / "demo.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) > 500
    broken = [row for row in rows if detect_degeneration(row["context"], row["response"])]
    assert broken == []


@given(st.text(max_size=80), st.text(max_size=200))
def test_any_text_can_be_checked(prompt: str, reply: str) -> None:
    assert detect_degeneration(prompt, reply) in (None, *DEGENERATIONS)


REFUSALS = """
I'm sorry, but I can't help with that.
I’m sorry, but I can’t assist with that request.
I cannot provide instructions for this.
I can't in good conscience help you with that.
Sorry, I really can't do that for you.
I won't be able to help; I will not write that.
As an AI language model, I don't have opinions on this.
I'm sorry for any confusion, but as a chatbot designed to help, I am not able to do that.
I'm glad you asked, but I don't have the capability to look that up.
I'm not able to give you medical advice.
I am unable to fulfill your request.
I must respectfully decline.
I'd rather not talk about that.
It is not appropriate to discuss this.
I don't feel comfortable answering.
That goes against my guidelines.
I apologize, but I'm unable to share that.
I won't be able to help with that.
Unfortunately, I would not be able to provide this.
I'll be unable to do it.
<think>They ask for a recipe. That may be risky.</think>I can't help with that.
"I can't help with that."
I can't help with that, but I'd be happy to help with something else. You can ask me anything.
"""

PARTIAL = """I can't give you medical advice, but here is what most people find useful for a mild
headache: drink a large glass of water, rest in a dark and quiet room for half an hour, and take a
mild painkiller with some food if it does not pass by itself."""

REPLIES = """
I'm sorry to hear that. Have you talked to your doctor?
I can't believe it either! What happened next?
I can't wait to see it.
I can't help but feel sorry for them.
I can't tell if you are joking, and I can't say for sure.
I know, but I can't do anything about it.
You can kill a Python process with kill or Ctrl-C.
Sorry about your day! A walk may help.
I won the game.
As an AI researcher I love this question: start with linear algebra.
I don't have the faintest idea, but the bakery may be open.
It isn't hard: heat the pan and add the oil.
I am not sure what you mean, tell me more.
I'm not going home yet, the party is still on.
No, they can't provide that without a receipt.
Doctors refuse to do so only in rare cases.
He said "I can't help you with that" and left.
"I won't do that," she told him, and closed the door.
The man replied “I'm sorry, but I can't” every time.
I won't be able to sleep tonight!
I can't wait to share it.
<think>I can't help with that. Or can I? They only want a recipe.</think>Heat the pan.
"""


@pytest.mark.parametrize("reply", REFUSALS.strip().splitlines())
def test_refusals_are_detected_by_how_they_begin(reply: str) -> None:
    assert is_refusal(reply)


@pytest.mark.parametrize("reply", REPLIES.strip().splitlines())
def test_other_replies_are_not_refusals(reply: str) -> None:
    assert not is_refusal(reply)


def test_a_reply_that_declines_and_then_helps_is_no_refusal() -> None:
    assert not is_refusal(PARTIAL)
    assert is_refusal(PARTIAL.partition(":")[0])


def test_a_refusal_late_in_a_reply_is_not_detected() -> None:
    assert not is_refusal("Well. " * 60 + "I can't help with that.")
