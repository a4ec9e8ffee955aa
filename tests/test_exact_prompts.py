"""The ids before an answer are those of the rendered prompt, as inference sees it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from helpers import TEMPLATES, conversation, make_llama_like, make_metaspace_first, read_rows, save_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import lookahead_data as la
from lookahead_data.assets.train_tokenizer import texts
from lookahead_data.config import Settings
from lookahead_data.errors import RowError
from lookahead_data.model.borders import never_overlapping
from lookahead_data.model.load import load_model
from lookahead_data.model.places import literal_ranges
from lookahead_data.model.supervision import Supervision
from lookahead_data.model.template import BUILTIN
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer

MARKS = ("<bos>", "<eos>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|eot_id|>")


def make_newline_runs(folder: Path) -> Path:
    """Gemma's way: runs of newlines and of blanks are added tokens, and no splitter stands between words."""
    tokenizer = Tokenizer(models.BPE(unk_token=None, byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = [AddedToken(text, special=True, normalized=False) for text in MARKS]
    special += [AddedToken(f"<0x{byte:02X}>", special=False, normalized=False) for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([text.replace(" ", "▁") for text in texts()], trainer)
    runs = (
        ["\n" * count for count in range(1, 8)]
        + ["▁" * count for count in range(2, 6)]
        + ["<b>", "</b>", "\t\t"]
    )
    tokenizer.add_tokens([AddedToken(run, special=False, normalized=False) for run in runs])
    return save_tokenizer(tokenizer, folder, bos_token="<bos>", eos_token="<eos>")


def make_overlapping(folder: Path) -> Path:
    """Added tokens that begin or end with one another."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    odd = ["<|im_end|>\n", "\n<|im_start|>", "### Response:", "\n\n###", ":\n", ">\n\n", "?\n"]
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in odd])
    return save_tokenizer(tokenizer, folder, bos_token="<bos>", eos_token="<eos>")


MADE = {
    "newline-runs": make_newline_runs,
    "overlapping": make_overlapping,
    "llama-like": make_llama_like,
    "metaspace-first": make_metaspace_first,
}


def edges(tokenizer: LoadedTokenizer, seed: int) -> list[str]:
    """What contents begin and end with: pieces of added tokens, white space, punctuation."""
    chance = random.Random(seed)
    added = [token.content for token in tokenizer._engine.get_added_tokens_decoder().values()]
    found = [
        "\n",
        "\n\n",
        "\n\n\n",
        " ",
        "  ",
        "\t",
        " \n",
        "\n ",
        "\r\n",
        ".",
        ":",
        "<",
        ">",
        "?",
        "é",
        "▁",
        "x",
    ]
    for token in chance.sample(added, min(len(added), 40)):
        cut = chance.randrange(1, len(token) + 1)
        found += [token[:cut], token[cut:]] if cut < len(token) else [token]
    return [text for text in found if text and not any(mark in text for mark in tokenizer.guarded)]


def conversations(tokenizer: LoadedTokenizer, count: int, seed: int = 0) -> Iterator[list[dict[str, str]]]:
    chance = random.Random(seed)
    around = edges(tokenizer, seed)

    def content() -> str:
        return (
            chance.choice(["", *around])
            + chance.choice(["say it", "1 + 1", "Käse"])
            + chance.choice(["", *around])
        )

    for at in range(count):
        yield conversation(content(), content(), system=content() if at % 2 else None)


def mismatches(folder: Path, out: Path, template: str, count: int = 60) -> tuple[int, list[str]]:
    """How many prompts were compared, and those whose ids differ."""
    tokenizer = load_tokenizer(str(folder))
    talks = list(conversations(tokenizer, count))
    settings = Settings(tokenizer=str(folder), chat_template=template, mode="none")
    model = load_model(settings, frozenset({"messages"}))
    la.convert([{"messages": talk} for talk in talks], out, **settings.to_dict(), workers=1)
    assert model.template is not None
    rule = Supervision(settings, model.tokenizer, model.template)
    compared: int = 0
    wrong: list[str] = []
    for row, talk in zip(read_rows(out), (talk for talk in talks if renders(rule, talk)), strict=True):
        prompt = model.template.render_plain(talk[:-1], add_generation_prompt=True)
        rendered = rule.render(talk)
        if not rendered.text.startswith(prompt) or rendered.spans[0][0] != len(prompt):
            continue  # inference asks in another way than the template writes the answer
        pattern = model.tokenizer.guarded_pattern
        own = literal_ranges(rendered.text)
        found = [match.span() for match in pattern.finditer(rendered.text)] if pattern else []
        if any(not any(a <= low and high <= b for a, b in own) for low, high in found):
            continue  # it spells out a token, which stays text
        start = next(at for at, label in enumerate(row["labels"]) if label != -100)
        compared += 1
        if row["input_ids"][:start] != tokenizer.encode_ids([prompt], special=True)[0]:
            wrong.append(prompt)
    return compared, wrong


def renders(rule: Supervision, talk: Sequence[dict[str, str]]) -> bool:
    try:
        rule.render(talk)
    except RowError:
        return False
    return True


@pytest.mark.parametrize(("made", "template"), list(itertools.product(MADE, (*BUILTIN, *TEMPLATES))))
def test_prompts_have_the_ids_of_the_rendered_prompt(made: str, template: str, tmp_path: Path) -> None:
    folder = MADE[made](tmp_path / "tokenizer")
    if template in TEMPLATES:
        (tmp_path / "t.jinja").write_text(TEMPLATES[template])
    chosen = str(tmp_path / "t.jinja") if template in TEMPLATES else template
    compared, wrong = mismatches(folder, tmp_path / "out", chosen)
    assert not wrong
    assert compared or template in ("inst", "prefilled")


REAL = ["llama2", "llama3_1", "qwen3"]


@pytest.mark.parametrize("name", REAL)
def test_prompts_of_real_tokenizers_have_the_ids_of_the_rendered_prompt(
    name: str, shared: Path, tmp_path: Path
) -> None:
    # Each template with one of the tokenizers, since these take long to load.
    templates = [*BUILTIN, *map(str, sorted((shared / "golden" / "templates").glob("*.jinja")))]
    total = 0
    for at, template in enumerate(templates[REAL.index(name) :: len(REAL)]):
        compared, wrong = mismatches(shared / "tokenizers" / name, tmp_path / str(at), template, count=30)
        assert not wrong, template
        total += compared
    assert total >= 30


def test_tokens_that_overlap_are_no_borders() -> None:
    tokens = ["<a>", "<b>", "<b>>", "\n", "\n\n", "x<c>", "<c>", "aba"]
    assert never_overlapping(tokens, tokens) == ["<a>", "<b>>", "x<c>"]
    assert never_overlapping(["<a>", "<b>"], ["<a>", "<b>", "\n", "\n\n"]) == ["<a>", "<b>"]
    assert never_overlapping(["<a>", "<b>"], ["<a>", "<b>", "\n<"]) == []
    assert never_overlapping(["<a>", "<b>"], ["<a>", "<b>", "\n<a>"]) == ["<b>"]
