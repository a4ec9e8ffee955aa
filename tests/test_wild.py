"""Every case of shared/wild, converted as its user would, with the answer that its user expects.

`CASES` has the supervised texts of all rows (without an empty reasoning block that the template adds), or the words of
the refusal. Cases about tokenizers' own files are in `test_wild_tokens`, those about Python's data in `test_folders`.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from helpers import SHARED, read_rows
from wild import WILD, case, needs_wild

import lookahead_data as la
from lookahead_data.columns import IGNORED
from lookahead_data.model.tokenizer import load_tokenizer

pytestmark = needs_wild

ELSEWHERE = {"44", "46", "48", "50", "56", "78", "97"}
"""Cases that other tests hold: tokenizer folders, Python objects, names of inputs, commands other than `convert`."""

LLAMA = {"tokenizer": "llama3_1", "template_date": "2026-01-01"}
TREES = ["Here is a tree for you, as asked.", "Here is a fish for you, as asked."]
THREE = [*TREES, "Here is a bird for you, as asked."]
FIR, BLUE, SIX = "The fir is a tall tree.", "Blue is a nice colour indeed.", "It is six, as said."
THOUGHT = "<think>\nThree and three make six.\n</think>\n\nIt is six, as said."
CALL = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'

Case = tuple[str, dict[str, Any], list[str] | str]

CASES: dict[str, list[Case]] = {
    "01": [("in.jsonl", {}, ["The ant is an insect.", "An ant has six legs, like every insect."])],
    "02": [("in.jsonl", {}, ["You are right, it is four."])],
    "04": [("in.jsonl", {}, ["You are right, it is four."])],
    "05": [("in.jsonl", {}, ["It stopped running in 1954, when the bridge opened.", "Apples and pears are two fruits."])],
    "06": [("in.jsonl", {}, ["Sunlight bounces around in the air, and blue bounces the most."])],
    "07": [
        ("in.jsonl", {}, "--where label"),
        ("in.jsonl", {"where": ["label"]}, [BLUE]),
        ("in.jsonl", {"ignore_field": ["label"]}, [BLUE, "Shut up and go away now."]),
    ],
    "08": [("in.jsonl", {}, "--output-field chosen"), ("in.jsonl", {"output_field": "chosen"}, [BLUE])],
    "100": [("in.jsonl", LLAMA, ["<think>\nTwo and two.\n</think>\n\nIt is four, yes."])],
    "101": [("in.jsonl", {"dedup": "prompt"}, [TREES[0], "hello there"])],
    "104": [("in.jsonl", {}, THREE)],
    "106": [("in.json", {}, TREES[:1]), ("u16.jsonl", {}, "UTF-16")],
    "108": [("in.jsonl", {}, [FIR, "Fir.", "The oak is a tall tree."])],
    "11": [("in.jsonl", {}, [])],
    "112": [("in.jsonl", {}, THREE)],
    "114": [("in.json", {}, "broken at character"), ("j2.jsonl", {}, "Extra data"), ("j3.jsonl", {}, "single quotes")],
    "116": [("in.jsonl", {}, [FIR] * 25)],
    "120": [("in.csv", {}, [FIR, "The cod is a big fish."])],
    "122": [("in.jsonl", LLAMA, [SIX])],
    "127": [("in.jsonl", {}, "--input-field body.messages"), ("in.jsonl", {"input_field": "body.messages"}, TREES[:1])],
    "128": [("in.jsonl", {"mode": "virtual", "phrase": "So. "}, [THOUGHT.replace("Three and", "So. Three and")] * 2)],
    "129": [
        (
            "in.jsonl",
            {"dedup": "prompt"},
            ["A fox sat.", "Then the fox ran off, quickly.", "An owl sat.", "Then the owl flew up, silently."],
        )
    ],
    "13": [("in.jsonl", {}, [BLUE])],
    "14": [("in.jsonl", {}, [BLUE, "Red is another one you may like."])],
    "17": [("in.jsonl", {}, [BLUE])],
    "18": [("in.jsonl", {}, ["<think>\nThey want one colour.\n</think>\n\nBlue is a nice colour."])],
    "20": [("in.jsonl", {}, [BLUE] * 7)],
    "21": [("in.jsonl", {}, [CALL, "It is five past ten."] * 8)],
    "22": [("in.jsonl", {}, [BLUE])],
    "24": [("in.jsonl", {}, [THOUGHT] * 2)],
    "25": [("in.jsonl", {}, [THOUGHT])],
    "26": [("in.jsonl", {}, [BLUE, "An apple is a red fruit."])],
    "27": [("ds", {}, THREE)],
    "28": [("ds", {}, TREES)],
    "30": [("train.parquet", {}, "git lfs pull"), ("train.jsonl", {}, "git lfs pull")],
    "31": [("c", {}, THREE)],
    "32": [("train.json", {}, THREE)],
    "33": [("train.jsonl", {}, THREE)],
    "34": [("train.json", {}, "single JSON object"), ("splits.json", {}, "'train', 'validation'")],
    "35": [("train.jsonl", {}, "jq -c")],
    "36": [("train.txt", {}, "--mode none"), ("train.jsonl.bz2", {}, "bunzip2"), ("train.jsonl.xz", {}, "unxz")],
    "37": [("in.parquet", {}, THREE)],
    "40": [("in.parquet", {}, TREES), ("saved", {}, TREES)],
    "43": [("in.jsonl", {}, ["Here is a tree for you.<|im_end|>", "Here is a tree for you.<|endoftext|>"])],
    "54": [("in.jsonl", {}, [FIR, FIR])],
    "58": [("in.jsonl", {}, [FIR])],
    "60": [("in.json", {}, "--input-field and --output-field")],
    "62": [("in.jsonl.gz", {}, THREE)],
    "64": [("in.csv", {}, "WINDOWS-1252")],
    "66": [("in.jsonl", {}, TREES[:1])],
    "68": [("in.jsonl", {}, [FIR])],
    "69": [("in.jsonl", {}, ["Sorry, I cannot help with that."] * 2)],
    "70": [("in.jsonl", {"template_args": {"enable_thinking": False}}, TREES[:1])],
    "71": [("in.jsonl", LLAMA, [FIR])],
    "74": [("in.jsonl", {}, "plain text")],
    "79": [("in.jsonl", {}, "--chat-template none"), ("in.jsonl", {"chat_template": "none"}, [FIR])],
    "80": [("in.jsonl", {}, [FIR])],
    "81": [("in.jsonl", {}, [FIR])],
    "82": [("in.jsonl", {}, [FIR])],
    "83": [("in.jsonl", {}, TREES[:1])],
    "84": [("in.jsonl", {"where": ["language = 'English'"]}, [FIR]), ("in.jsonl", {"where": ["score > 3"]}, [FIR])],
    "86": [("in.jsonl", {"dedup": "prompt"}, ["Ferries stopped in 1954, it says.", "Wolves returned in 1998, it says."])],
    "88": [("in.jsonl", {}, ["five it is"])],
    "89": [("in.jsonl", {}, ["It is four.", "<think>\nThree and three make six.\n</think>\n\nIt is six."])],
    "91": [("ds", {}, TREES)],
    "93": [("in.jsonl", {}, ["Un arbre, voilà."])],
    "94": [("in.parquet", {}, TREES), ("in.jsonl", {}, TREES)],
    "98": [("in.jsonl", {}, [FIR])],
    "99": [("in.jsonl", {}, [])],
}  # fmt: skip

CONTEXT = {
    "01": ["Answer briefly.", "Name an insect."],
    "05": ["The small ferry on Lake Orrin ran from 1911"],
    "06": ["Explain as if to a child of five."],
    "10": ['"name": "get_weather"'],
    "18": ["detailed thinking on"],
    "22": ["<|im_start|>system\nAnswer briefly."],
    "82": ["Be brief."],
    "83": ["<think>\n\n</think>"],
    "86": ["Ferries ran until 1954."],
    "93": ["A tree."],
}
"""What the context of a case's rows must hold."""

OTHERS = {"10", "41", "52", "72", "102"}
"""Cases that tests of their own below hold."""


def converted(number: str, source: str, out: Path, **changes: Any) -> tuple[list[str], str, la.Manifest]:
    """The supervised texts of all rows, all other text, and the manifest."""
    tokenizer = str(SHARED / "tokenizers" / changes.pop("tokenizer", "qwen3"))
    manifest = la.convert(case(number) / source, out, tokenizer=tokenizer, workers=1, **changes)
    loaded = load_tokenizer(tokenizer)
    learned: list[str] = []
    context = ""
    for row in read_rows(out):
        pairs = zip(row["input_ids"], row["labels"], strict=True)
        for supervised, group in itertools.groupby(pairs, key=lambda pair: pair[1] != IGNORED):
            text = loaded.decode([token for token, _ in group])
            if supervised:
                learned.append(text.removeprefix("<think>\n\n</think>\n\n"))
            else:
                context += text
    return learned, context, manifest


@pytest.mark.parametrize("number", CASES)
def test_what_users_expect(number: str, tmp_path: Path) -> None:
    for at, (source, changes, expected) in enumerate(CASES[number]):
        if isinstance(expected, str):
            with pytest.raises(la.LookaheadError) as caught:
                converted(number, source, tmp_path / str(at), **changes)
            assert expected in str(caught.value)
            continue
        learned, context, manifest = converted(number, source, tmp_path / str(at), **changes)
        ends = ("<|im_end|>", "<|eot_id|>") if changes.get("chat_template") != "none" else ()
        bare = [
            next((text.removesuffix(end) for end in ends if text.endswith(end)), text) for text in learned
        ]
        assert bare == expected
        for words in CONTEXT.get(number, ()):
            assert words in context
        totals = manifest.totals
        left = sum(totals["filtered"].values()) + sum(totals["quarantined"].values())
        assert totals["read"] == totals["written"] + left
        assert manifest.document["fields"]


def test_every_case_is_held() -> None:
    numbers = {
        json.loads(line)["case"].split("-")[0] for line in (WILD / "cases.jsonl").read_text().splitlines()
    }
    assert numbers == set(CASES) | ELSEWHERE | OTHERS


def test_tools_are_in_the_prompt(tmp_path: Path) -> None:
    learned, context, _ = converted("10", "in.jsonl", tmp_path / "out")
    assert context.count('"name": "get_weather"') == 2
    assert any("<tool_call>" in text for text in learned)


def test_reasons_of_rows_left_out(tmp_path: Path) -> None:
    for number, outcome in (
        ("11", {"media": 1}),
        ("20", {"unknown_role": 3}),
        ("54", {"empty_answer": 2}),
        ("88", {"not_text": 1}),
    ):
        assert converted(number, "in.jsonl", tmp_path / number)[2].totals["quarantined"] == outcome
    assert converted("99", "in.jsonl", tmp_path / "99")[2].totals["filtered"] == {"not_trained": 2}
    mapped = {"role": dict.fromkeys(("narrator", "tutor", "Answer"), "assistant")}
    assert converted("20", "in.jsonl", tmp_path / "mapped", **mapped)[2].totals["read"] == 10


def test_text_that_is_rendered_already_is_counted(tmp_path: Path) -> None:
    _, _, manifest = converted("41", "in.jsonl", tmp_path / "text", mode="none")
    assert manifest.totals["notes"]["special_tokens_as_text"] == 1
    _, _, manifest = converted("41", "in.jsonl", tmp_path / "allow", mode="none", special_tokens="allow")
    assert "special_tokens_as_text" not in manifest.totals["notes"]
    (row,) = read_rows(tmp_path / "allow")
    assert row["input_ids"].count(151645) == 2  # <|im_end|>, and no second one at the end


def test_consecutive_messages_go_to_the_template_as_they_are(tmp_path: Path) -> None:
    gemma = converted("52", "in.jsonl", tmp_path / "gemma", chat_template="gemma")[2]
    assert gemma.totals["quarantined"]["template_refused"] >= 2


def test_what_a_template_drops_is_never_previewed(tmp_path: Path) -> None:
    template = str(SHARED / "golden" / "templates" / "deepseek_r1_distill.jinja")
    learned, context, manifest = converted("72", "in.jsonl", tmp_path / "out", chat_template=template)
    assert "begins with: It is six, as said" in context
    assert "Three and three" not in context + "".join(learned)
    assert manifest.totals["notes"]["reasoning_left_out"] == 1


def test_channels_hold_reasoning(tmp_path: Path) -> None:
    template = str(SHARED / "golden" / "templates" / "gptoss.jinja")
    _, context, manifest = converted(
        "102", "in.jsonl", tmp_path / "out", chat_template=template, template_date="2026-01-01"
    )
    assert manifest.totals["previews"] == 2
    assert "begins with: Three and three make six." in context
