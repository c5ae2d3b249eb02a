"""Names and clients of OpenAI-compatible endpoints: encoders, chat models and judges alike."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from isaac.errors import IsaacError, MissingExtraError, RecipeError
from isaac.models.chat import load_chat_model
from isaac.models.chat.base import ModelError
from isaac.models.chat.endpoint import ChatEndpoint
from isaac.models.encoders import OpenAIEncoder, load_encoder
from isaac.models.judges import JudgeError, load_judge
from isaac.models.judges.endpoint import ChatJudge, ModerationJudge
from isaac.models.openai_client import OpenAIClient, parse_openai_name

URL = "http://localhost:8000/v1"
LOADERS: dict[str, Callable[[str], object]] = {
    "encoder": load_encoder,
    "model": load_chat_model,
    "judge": load_judge,
}
KINDS = [OpenAIEncoder, ChatEndpoint, ChatJudge, ModerationJudge]


def test_a_name_has_a_model_and_a_base_url() -> None:
    assert parse_openai_name(f"openai:@org/m@{URL}") == ("@org/m", URL)
    assert parse_openai_name("openai:m@https://host") == ("m", "https://host")
    for name in ("openai:m", "openai:m@host", f"openai:@{URL}", f"m@{URL}", "openai:m@http://"):
        assert parse_openai_name(name) is None


@pytest.mark.parametrize("kind", LOADERS)
def test_without_the_package_the_extra_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    message = rf"^{kind} 'openai:m@{URL}' needs an extra: .*\[openai\]"
    with pytest.raises(MissingExtraError, match=message):
        LOADERS[kind](f"openai:m@{URL}")


@pytest.mark.parametrize(
    ("kind", "error"), [("encoder", RecipeError), ("model", ModelError), ("judge", JudgeError)]
)
def test_a_base_url_with_a_secret_is_refused(kind: str, error: type[IsaacError]) -> None:
    for url in ("http://me:secret@localhost/v1", "http://secret@localhost/v1"):
        with pytest.raises(error, match="contains a user name, a password or a key") as raised:
            LOADERS[kind](f"openai:m@{url}")
        assert "secret" not in str(raised.value)
    with pytest.raises(error, match="the base URL is not valid"):
        LOADERS[kind]("openai:m@http://[")


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_is_an_argument_or_a_variable_or_none_and_stays_out_of_names(
    kind: type[OpenAIClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai", reason="the extra 'openai' is not installed")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    without = kind("m", URL)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-variable")
    models = [without, kind("m", URL), kind("m", URL, api_key="sk-argument")]
    assert [model.client.api_key for model in models] == ["none", "sk-variable", "sk-argument"]
    assert all(model.revision.startswith(f"openai:m@{URL}") for model in models)
    assert not any("sk-" in model.revision for model in models)


@pytest.mark.parametrize("kind", KINDS)
def test_retries_and_timeout_have_defaults_for_each_kind(kind: type[OpenAIClient]) -> None:
    openai = pytest.importorskip("openai", reason="the extra 'openai' is not installed")
    defaults = (5, 60.0) if kind in (ChatJudge, ModerationJudge) else (6, openai.DEFAULT_TIMEOUT)
    default, custom = kind("m", URL).client, kind("m", URL, retries=2, timeout=7.0).client
    assert (default.max_retries, default.timeout) == defaults
    assert (custom.max_retries, custom.timeout) == (2, 7.0)
