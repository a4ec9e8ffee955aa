"""Settings: their defaults, their checks, and where they come from."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from lookahead_data.config import CONNECTOR, PHRASE, Settings
from lookahead_data.errors import SettingsError
from lookahead_data.jobfile import load_config
from lookahead_data.numerals import parse_size


def test_the_defaults_are_the_papers() -> None:
    settings = Settings()
    assert (settings.mode, settings.preview_tokens) == ("real", 6)
    assert settings.connector == CONNECTOR == " The answer begins with: "
    assert settings.phrase == PHRASE == "Let's solve this problem. "


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "reel"},
        {"preview_tokens": 0},
        {"preview_tokens": True},
        {"preview_tokens": 2.5},
        {"phrase": None},
        {"mode": "virtual", "phrase": ""},
        {"mode": "none", "mask_preview": True},
        {"shape": "text"},
        {"max_length": 0},
        {"template_date": "yesterday"},
        {"template_date": "2026-13-45"},
        {"mask_preview": "no"},
        {"tokenizer": 5},
        {"template_args": 3},
        {"template_args": {"messages": []}},
        {"end_token": 3},
        {"shard_size": "big"},
        {"previw_tokens": 3},
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Settings().replace(**changes)


def test_kindred_values_are_taken() -> None:
    day = datetime.date(2026, 1, 31)
    settings = Settings(shard_size="64MiB", tokenizer=Path("a/b"), template_date=day)  # type: ignore[arg-type]
    assert (settings.shard_size, settings.tokenizer, settings.template_date) == (
        64 << 20,
        "a/b",
        "2026-01-31",
    )


def test_settings_survive_a_round_trip() -> None:
    settings = Settings(mode="virtual", phrase="x", template_args={"a": [1]}, max_length=5)
    assert Settings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256MB", 256_000_000),
        ("64MiB", 64 << 20),
        ("1.5k", 1500),
        ("12", 12),
        (7, 7),
        ("1 GiB", 1 << 30),
        ("3b", 3),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


def test_a_size_that_is_none() -> None:
    for text in ("", "MB", "12 parsecs", "-1"):
        with pytest.raises(SettingsError, match="is not a size"):
            parse_size(text)


def test_a_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text('inputs = "a.jsonl"\noutput = "out"\nmode = "none"\nmax-length = 9\n')
    job = load_config(path)
    assert (job.inputs, job.output, dict(job.settings)) == (
        ("a.jsonl",),
        "out",
        {"mode": "none", "max_length": 9},
    )
    for text, words in (("x = 1", "'x' is not a setting"), ("mode =", "not valid")):
        path.write_text(text)
        with pytest.raises(SettingsError, match=words):
            load_config(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_config(tmp_path / "gone.toml")
    for text in ("inputs = 5", "output = 5"):
        path.write_text(text)
        with pytest.raises(SettingsError, match="must be a path"):
            load_config(path)
    (tmp_path / "x.json").write_text('{"settings": 3}')
    with pytest.raises(SettingsError, match="not valid"):
        load_config(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(SettingsError, match="not a manifest"):
        load_config(tmp_path / "x.json")
