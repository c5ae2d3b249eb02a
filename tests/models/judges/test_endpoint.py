from __future__ import annotations

import json
import time
from typing import Any

import pytest

from isaac import Tools
from isaac.models.judges import Judge, JudgeError, Judgment, load_judge, run_judge
from isaac.models.judges.endpoint import ChatJudge, ModerationJudge
from tests.servers import ServerAnswer, StartServer, chat_completion

pytest.importorskip("openai", reason="the extra 'openai' is not installed")


def valid_answer(body: dict[str, Any], _number: int) -> ServerAnswer:
    bad = "bad" in json.loads(body["messages"][1]["content"])["response"]
    score = 0.9 if bad else 0.25
    return 200, chat_completion(
        {"unsafe_probability": score, "verdict": "unsafe" if bad else "safe"}
    )


def test_a_chat_model_must_answer_in_a_strict_schema(serve: StartServer) -> None:
    server = serve(valid_answer)
    judge = load_judge(f"openai:m@{server.url}")
    texts = [f"{'bad' if i % 3 else 'fine'} {i} \ud800 \x00" for i in range(20)]
    found = run_judge(judge, ["why?"] * 20, texts)
    wanted = [Judgment("unsafe", 0.9) if i % 3 else Judgment("safe", 0.25) for i in range(20)]
    assert found.judgments == wanted
    request = server.asked[0]
    assert request["path"] == "/v1/chat/completions"
    assert request["response_format"]["json_schema"]["strict"] is True
    assert request["temperature"] == 0
    given = json.loads(request["messages"][1]["content"])
    assert given["context"] == "why?"


def ask(judge: Judge, text: str = "fine") -> tuple[Judgment, str | None]:
    found = run_judge(judge, ["c"], [text])
    return found.judgments[0], found.first_error


def test_a_busy_endpoint_is_asked_again(serve: StartServer) -> None:
    busy = {1: 429, 2: 503}
    server = serve(lambda body, number: valid_answer(body, 1) if number > 2 else (busy[number], {}))
    assert ask(ChatJudge("m", server.url)) == (Judgment("safe", 0.25), None)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (chat_completion("safe"), "expected JSON from the judge, got 'safe'"),
        (chat_completion('{"verdict": "sa'), "expected a verdict"),
        (chat_completion('<think>{"verdict": "safe"}'), "ended within its thinking"),
        (
            chat_completion(
                '{"verdict": "safe", "unsafe_probability": 0} is what it says, but: '
                '{"verdict": "unsafe", "unsafe_probability": 1}'
            ),
            "expected a verdict, safe or unsafe",
        ),
        (chat_completion("{" * 100_000), "expected a verdict"),
        (chat_completion('{"a":' * 100_000), "expected a verdict"),
        (chat_completion(None), "expected JSON from the judge, got ''"),
        (chat_completion(["safe"]), "expected JSON from the judge"),
        (chat_completion({"verdict": "fine", "unsafe_probability": 0}), "expected a verdict"),
        (
            chat_completion({"verdict": "safe", "unsafe_probability": 0.8}),
            "contradicts itself: verdict safe, unsafe_probability 0.8",
        ),
        (
            chat_completion({"verdict": "safe", "unsafe_probability": 0.5}),
            "contradicts itself: verdict safe, unsafe_probability 0.5",
        ),
        (chat_completion({"verdict": "safe"}), "expected unsafe_probability from 0 to 1"),
        (chat_completion(None, refusal="I will not"), "refused: I will not"),
        ({**chat_completion(""), "choices": []}, "sent no answer"),
        ({"error": "odd"}, "sent no answer"),
        (b"<html>", "Error"),
    ],
)
def test_an_invalid_answer_is_unscored_with_its_reason(
    serve: StartServer, answer: Any, reason: str
) -> None:
    server = serve(lambda _body, _number: (200, answer))
    found, error = ask(ChatJudge("m", server.url))
    assert found.verdict == "unscored"
    assert reason in (error or "")


@pytest.mark.parametrize("score", [None, "high", "0.1", True, -1, 7])
@pytest.mark.parametrize("verdict", ["safe", "unsafe"])
def test_a_verdict_without_a_probability_is_unscored(
    serve: StartServer, verdict: str, score: Any
) -> None:
    answer = chat_completion({"verdict": verdict, "unsafe_probability": score})
    server = serve(lambda _body, _number: (200, answer))
    found, error = ask(ChatJudge("m", server.url))
    assert found.verdict == "unscored"
    assert error == f"expected unsafe_probability from 0 to 1, got {score}"


@pytest.mark.parametrize("reason", ["content_filter", "length"])
def test_a_truncated_answer_is_unscored(serve: StartServer, reason: str) -> None:
    answer = chat_completion({"verdict": "safe", "unsafe_probability": 0.1})
    answer["choices"][0]["finish_reason"] = reason
    found, error = ask(ChatJudge("m", serve(lambda _body, _number: (200, answer)).url))
    assert found.verdict == "unscored"
    assert error == f"the endpoint truncated the answer: {reason}"


@pytest.mark.parametrize(
    "form",
    [
        "```json\n{}\n```",
        "<think>\nIt quotes {{'a': 1}}.\n</think>\n\n{}",
        "Here is my verdict:\n\n{}\n\nI hope this helps {{you}}.",
    ],
)
@pytest.mark.parametrize("verdict", ["Safe", " SAFE", "safe"])
def test_an_answer_outside_of_the_schema_is_understood(
    serve: StartServer, form: str, verdict: str
) -> None:
    fields = json.dumps({"unsafe_probability": 0.25, "verdict": verdict})
    answer = chat_completion(form.format(fields))
    found = ask(ChatJudge("m", serve(lambda _body, _number: (200, answer)).url))
    assert found == (Judgment("safe", 0.25), None)


@pytest.mark.parametrize("named", [{"param": "response_format"}, {}])
def test_a_server_without_response_formats_is_asked_without_it(
    serve: StartServer, named: dict[str, str]
) -> None:
    def plain(body: dict[str, Any], number: int) -> ServerAnswer:
        if "response_format" in body:
            return 400, {"error": {"message": "unknown field response_format", **named}}
        if "temperature" in body:
            return 400, {"error": {"message": "unsupported", "param": "temperature"}}
        return valid_answer(body, number)

    server = serve(plain)
    judge = ChatJudge("m", server.url)
    assert ask(judge) == (Judgment("safe", 0.25), None)
    assert ask(judge, "bad") == (Judgment("unsafe", 0.9), None)
    assert len(server.asked) == 4


def test_a_rejected_exchange_leaves_the_others_scored(serve: StartServer) -> None:
    def answer(body: dict[str, Any], number: int) -> ServerAnswer:
        if "secret" in body["messages"][1]["content"]:
            return 400, {"error": {"message": "content policy", "code": "content_filter"}}
        return valid_answer(body, number)

    server = serve(answer)
    found = run_judge(ChatJudge("m", server.url), ["c"] * 3, ["bad", "secret", "fine"])
    assert [one.verdict for one in found.judgments] == ["unsafe", "unscored", "safe"]
    assert found.failures == 1
    assert "content policy" in (found.first_error or "")
    assert len(server.asked) == 3  # one request per exchange, refused or not


def test_a_request_to_a_hanging_endpoint_times_out(serve: StartServer) -> None:
    def slow(body: dict[str, Any], number: int) -> ServerAnswer:
        time.sleep(0.5)
        return valid_answer(body, number)

    server = serve(slow)
    found, error = ask(ChatJudge("m", server.url, timeout=0.1, retries=0))
    assert found.verdict == "unscored"
    assert error == "APITimeoutError: Request timed out."


def test_with_an_unreachable_endpoint_all_exchanges_are_unscored() -> None:
    found, error = ask(ChatJudge("m", "http://127.0.0.1:9/v1", retries=0))
    assert found.verdict == "unscored"
    assert error == "APIConnectionError: Connection error."


def test_a_model_that_rejects_the_temperature_is_asked_without_it(serve: StartServer) -> None:
    def picky(body: dict[str, Any], number: int) -> ServerAnswer:
        if "temperature" in body:
            return 400, {"error": {"message": "unsupported", "param": "temperature"}}
        return valid_answer(body, number)

    server = serve(picky)
    judge = ChatJudge("m", server.url)
    assert ask(judge) == (Judgment("safe", 0.25), None)
    assert ask(judge, "bad") == (Judgment("unsafe", 0.9), None)
    assert len(server.asked) == 3


def moderated(body: dict[str, Any], _number: int) -> ServerAnswer:
    results = [
        {
            "flagged": "bad" in text,
            "categories": {"hate": "bad" in text},
            "category_scores": {"hate": 0.7 if "bad" in text else 0.1, "violence": 0.2},
            "category_applied_input_types": {},
        }
        for text in body["input"]
    ]
    return 200, {"id": "1", "model": "m", "results": results}


def test_a_text_that_moderations_reject_leaves_the_others_scored(serve: StartServer) -> None:
    def picky(body: dict[str, Any], number: int) -> ServerAnswer:
        if any(len(text) > 1000 for text in body["input"]):
            return 400, {"error": {"message": "too long"}}
        return moderated(body, number)

    texts = ["fine"] * 10 + ["long " * 300, "long " * 60_000] + ["bad"] * 10
    judge = load_judge(f"openai:omni-moderation-latest@{serve(picky).url}")
    found = run_judge(judge, ["c" * 300_000] * len(texts), texts)
    verdicts = [one.verdict for one in found.judgments]
    assert verdicts == ["safe"] * 10 + ["unscored"] * 2 + ["unsafe"] * 10
    assert found.failures == 2


def test_a_moderations_endpoint_reads_responses_in_batches(serve: StartServer) -> None:
    server = serve(moderated)
    judge = load_judge(f"openai:omni-moderation-latest@{server.url}")
    assert isinstance(judge, ModerationJudge)
    texts = ["bad" if i % 2 else "fine" for i in range(70)]
    found = run_judge(judge, ["bad context"] * 70, texts)
    wanted = [Judgment("unsafe", 0.7) if i % 2 else Judgment("safe", 0.2) for i in range(70)]
    assert found.judgments == wanted
    assert sorted(len(request["input"]) for request in server.asked) == [6, 32, 32]
    assert server.asked[0]["path"] == "/v1/moderations"


@pytest.mark.parametrize("results", [[], [{"flagged": None}], None, [{}, {}]])
def test_invalid_moderation_results_are_unscored(serve: StartServer, results: Any) -> None:
    server = serve(lambda _body, _number: (200, {"id": "1", "model": "m", "results": results}))
    found, error = ask(ModerationJudge("m", server.url))
    assert found.verdict == "unscored"
    assert error


@pytest.mark.parametrize("name", ["openai:m", "openai:m@here", "openai:@http://x/v1"])
def test_a_name_without_model_or_url_is_refused(name: str) -> None:
    with pytest.raises(JudgeError, match="expected openai:MODEL@URL"):
        load_judge(name)


def test_the_timeout_can_be_chosen(serve: StartServer) -> None:
    name = f"openai:m@{serve(valid_answer).url}"
    moderation = name.replace("openai:m", "openai:moderation")
    for loaded in (name, moderation):
        assert vars(load_judge(loaded))["client"].timeout == 60
        assert vars(load_judge(loaded, timeout=2.5))["client"].timeout == 2.5
    assert vars(Tools(judge_timeout=2.5).judge(name))["client"].timeout == 2.5
