"""Fixtures that many tests use: tokenizers of every kind, and the real material where it is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import SHARED, make_llama_like, make_metaspace_first, make_wordpiece

from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real corpus, tokenizers and goldens."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real corpus, tokenizers and goldens in {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def builtin() -> LoadedTokenizer:
    return load_tokenizer("builtin")


@pytest.fixture(scope="session")
def llama_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece-style BPE with a prepended `▁` and byte fallback, as Llama 2 has it."""
    return make_llama_like(tmp_path_factory.mktemp("llama_like"))


@pytest.fixture(scope="session")
def metaspace_first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BPE whose `▁` comes before the very first word alone."""
    return make_metaspace_first(tmp_path_factory.mktemp("metaspace_first"))


@pytest.fixture(scope="session")
def wordpiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lower-casing WordPiece with [CLS] and [SEP], as BERT has it."""
    return make_wordpiece(tmp_path_factory.mktemp("wordpiece"))


@pytest.fixture(params=["builtin", "llama_like", "metaspace_first"])
def any_tokenizer(request: pytest.FixtureRequest) -> LoadedTokenizer:
    """Each kind of tokenizer that can give back the text that it was given."""
    return load_tokenizer(
        str(request.getfixturevalue(request.param)) if request.param != "builtin" else "builtin"
    )
