from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from isaac import errors


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"url": "file:///my%20work/isaac", "dir_info": {}}, "pip install '/my work/isaac[st]'"),
        (
            {"url": "file:///downloads/isaac.whl", "archive_info": {}},
            "pip install 'isaac-align[st]'",
        ),
        (None, "pip install 'isaac-align[st]'"),
    ],
)
def test_an_extra_is_installed_from_where_isaac_came_from(
    origin: object, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = None if origin is None else json.dumps(origin)
    fake = SimpleNamespace(read_text=lambda name: {"direct_url.json": text}[name])
    monkeypatch.setattr(errors, "distribution", lambda name: fake)
    assert errors.install_command("st") == command


def test_a_copy_that_pip_does_not_know_is_named_by_its_distribution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raise_unknown(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(errors, "distribution", raise_unknown)
    assert errors.install_command("ray") == "pip install 'isaac-align[ray]'"
