"""Secrets in URLs are refused or left out, and nothing is written before."""

from __future__ import annotations

from pathlib import Path

import pytest

from isaac import Recipe, RecipeError
from isaac.corpus.sources import find_sources
from isaac.text import has_url_secret, hide_url_secrets
from tests.conftest import RunIsaac

SECRET_URLS = [
    "http://user:hunter2@127.0.0.1:9/v1",
    "http://hunter2@127.0.0.1:9/v1",
    "http://127.0.0.1:9/v1?api_key=hunter2",
    "http://127.0.0.1:9/v1?a=1&X-Amz-Signature=hunter2",
]


@pytest.mark.parametrize("url", SECRET_URLS)
@pytest.mark.parametrize("field", ["context-encoder", "response-encoder", "judge"])
def test_a_secret_in_a_name_is_refused_before_anything_is_written(
    isaac: RunIsaac, small: Path, tmp_path: Path, url: str, field: str
) -> None:
    done = isaac("curate", small, "-o", tmp_path / "run", f"--{field}", f"openai:m@{url}")
    assert done.code == 2
    assert "contains a user name, a password or a key" in done.err
    assert "hunter2" not in done.err + done.out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("url", SECRET_URLS)
def test_the_library_refuses_it_too(url: str) -> None:
    with pytest.raises(RecipeError) as raised:
        Recipe(judge=f"openai:m@{url}")
    assert "hunter2" not in str(raised.value)


def test_harmless_names_are_no_secrets() -> None:
    assert not has_url_secret("openai:gpt@https://host.example/v1?api-version=2024-10-21")
    assert not has_url_secret("openai:mail@home@https://host.example/v1")
    assert not has_url_secret("hf:who/key-token")


def test_the_query_of_a_signed_url_is_not_in_the_name_of_its_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class System:
        def isdir(self, _path: str) -> bool:
            return False

        def glob(self, path: str) -> list[str]:
            return [path]

    monkeypatch.setattr("isaac.corpus.sources.resolve_url", lambda url: (System(), url))
    (file,) = find_sources("https://host.example/data/in.jsonl?X-Amz-Signature=hunter2")
    assert file.name == "in.jsonl"


def test_messages_show_urls_without_their_secrets() -> None:
    text = "cannot read s3://me:hunter2@bucket/a.jsonl?token=hunter2: 403, url='http://h/x?sig=2'"
    assert hide_url_secrets(text) == ("cannot read s3://bucket/a.jsonl 403, url='http://h/x'")


@pytest.mark.parametrize("url", ["memory://ann:s3cr3t@host/run", "memory://runs/run?sig=s3cr3t"])
@pytest.mark.parametrize("flags", [(), ("--json",), ("-v",)])
def test_the_place_of_a_run_is_shown_without_its_secrets(
    isaac: RunIsaac, small: Path, url: str, flags: tuple[str, ...]
) -> None:
    done = isaac("curate", small, "-o", url, *flags)
    assert done.code == 0, done.err
    assert "s3cr3t" not in done.out + done.err
    assert "memory://" in done.out
