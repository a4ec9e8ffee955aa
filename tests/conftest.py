"""Fixtures that several files use: tokenizers of every kind, corpora, and the real material where it is at hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from arranged import ROWS
from faults import golden_of
from forgery import folder_of_several_units
from helpers import SHARED, make_llama_like, make_metaspace_first, make_wordpiece, write_jsonl
from jobs import Job, small_job

from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer
from lookahead_data.reading import course


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


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The corpus of `arranged`."""
    return write_jsonl(tmp_path / "rows.jsonl", ROWS)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder with several units, shards and row groups, and rows of each outcome; not to be changed."""
    return folder_of_several_units(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "out"))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A small job of two units."""
    return small_job(tmp_path_factory.mktemp("job"), 40, 2)


@pytest.fixture(scope="module")
def golden(job: Job) -> Path:
    """What the job makes undisturbed; of the file's own job, where it has one."""
    return golden_of(job)


@pytest.fixture(scope="module")
def little_at_once() -> Iterator[None]:
    """So few tokens are taken out of a window together that small corpora have many such parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course, "TOKENS_AT_ONCE", 20)
        yield
