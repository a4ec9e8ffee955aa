"""Public data sets' fields, shapes, roles and media, each read as its users expect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from wild import case, converted, fields_of, needs_wild, rows_of, said

import lookahead_data as la
from lookahead_data.errors import InputError, RowError, SettingsError

pytestmark = needs_wild

Talk = list[tuple[str, str | None]]
TREE: Talk = [("user", "Name a tree."), ("assistant", "Here is a tree for you, as asked.")]
FIR: Talk = [("user", "Name a tree."), ("assistant", "The fir is a tall tree.")]
BLUE: Talk = [("user", "Name a colour."), ("assistant", "Blue is a nice colour indeed.")]

READ: dict[str, tuple[str, dict[str, Any], Talk]] = {
    "01": (
        "in.jsonl",
        {},
        [
            ("system", "Answer briefly."),
            ("user", "Name an insect."),
            ("assistant", "The ant is an insect."),
            ("user", "And how many legs has it?"),
            ("assistant", "An ant has six legs, like every insect."),
        ],
    ),
    "05": (
        "in.jsonl",
        {},
        [
            (
                "user",
                "When did the small ferry stop running?\n"
                "The small ferry on Lake Orrin ran from 1911 until the bridge opened in 1954.",
            ),
            ("assistant", "It stopped running in 1954, when the bridge opened."),
        ],
    ),
    "06": (
        "in.jsonl",
        {},
        [
            ("system", "Explain as if to a child of five."),
            ("user", "Why is the sky blue?"),
            ("assistant", "Sunlight bounces around in the air, and blue bounces the most."),
        ],
    ),
    "08": ("in.jsonl", {"output_field": "chosen"}, BLUE),
    "127": ("in.jsonl", {"input_field": "body.messages"}, TREE),
    "13": ("in.jsonl", {}, BLUE),
    "14": ("in.jsonl", {}, [*BLUE, ("user", "Another?"), ("assistant", "Red is another one you may like.")]),
    "17": ("in.jsonl", {}, BLUE),
    "18": (
        "in.jsonl",
        {},
        [
            ("system", "detailed thinking on"),
            ("user", "Name a colour."),
            ("assistant", "<think>\nThey want one colour.\n</think>\n\nBlue is a nice colour."),
        ],
    ),
    "22": ("in.jsonl", {}, [("developer", "Answer briefly."), *BLUE]),
    "26": ("in.jsonl", {}, BLUE),
    "37": ("in.parquet", {}, TREE),
    "40": ("in.parquet", {}, TREE),
    "58": ("in.jsonl", {}, [("system", "Be brief."), *FIR]),
    "66": ("in.jsonl", {}, TREE),
    "68": ("in.jsonl", {}, FIR),
    "69": (
        "in.jsonl",
        {},
        [("user", "How do I pick a lock?"), ("assistant", "Sorry, I cannot help with that.")],
    ),
    "79": ("in.jsonl", {"chat_template": "none"}, [("user", "Name a tree. "), FIR[1]]),
    "80": ("in.jsonl", {}, FIR),
    "81": ("in.jsonl", {}, [("system", "Be brief."), *FIR]),
    "82": ("in.jsonl", {}, [("system", "Be brief."), *FIR]),
    "83": ("in.jsonl", {}, TREE),
    "93": ("in.jsonl", {}, [("user", "Translate to French.\nA tree."), ("assistant", "Un arbre, voilà.")]),
    "94": ("in.parquet", {}, TREE),
    "98": ("in.jsonl", {}, [("system", "Be brief."), *FIR]),
}
"""By case: the input, the settings that it needs, and what its first row says."""


@pytest.mark.parametrize("name", READ)
def test_a_corpus_is_read_as_its_users_expect(name: str) -> None:
    file, changes, expected = READ[name]
    assert said(case(name) / file, **changes)[0] == expected


@pytest.mark.parametrize("name", ["02", "04"])
def test_a_flag_of_a_message_is_its_weight(name: str) -> None:
    (row,) = rows_of(case(name) / "in.jsonl")
    assert [message.get("weight") for message in row.messages] == [None, 0, None, None]


def test_rows_of_which_nothing_is_learned_are_filtered(tmp_path: Path) -> None:
    texts, rejects, manifest = converted(case("99") / "in.jsonl", tmp_path / "out")
    assert (texts, dict(manifest.totals["filtered"])) == ([], {"not_trained": 2})
    assert [reject["outcome"] for reject in rejects] == ["filtered", "filtered"]


def test_tools_and_calls_are_kept() -> None:
    first, second, *_ = rows_of(case("10") / "in.jsonl")
    assert first.tools == second.tools
    assert first.tools is not None
    assert first.tools[0]["function"]["name"] == "get_weather"
    call = second.messages[1]["tool_calls"][0]["function"]
    assert call == {"name": "get_weather", "arguments": {"place": "Lima"}}
    assert second.messages[1]["content"] is None
    assert second.messages[2]["tool_call_id"] == "1"


def test_reasoning_beside_an_answer_is_its_reasoning() -> None:
    (row,) = rows_of(case("25") / "in.jsonl")
    assert row.messages[-1]["reasoning_content"] == "Three and three make six."


def test_a_switch_called_reasoning_is_no_reasoning() -> None:
    (row,) = rows_of(case("18") / "in.jsonl")
    assert "reasoning_content" not in row.messages[-1]
    assert "reasoning" in fields_of(case("18") / "in.jsonl")["unread"]


def test_template_arguments_of_a_row_are_kept() -> None:
    (row,) = rows_of(case("83") / "in.jsonl")
    assert row.template_args == {"enable_thinking": False, "custom_instructions": "Be brief."}


def test_odd_roles_are_known_or_can_be_mapped() -> None:
    path = case("20") / "in.jsonl"
    with pytest.raises(RowError, match="--role question=ROLE"):
        rows_of(path)
    mapped = {
        "question": "user",
        "agent": "assistant",
        "用户": "user",
        "助手": "assistant",
        "answer": "assistant",
    }
    for talk in said(path, role=mapped):
        assert {role for role, _ in talk} <= {"system", "user", "assistant"}


def test_tools_answer_under_many_names() -> None:
    for talk in said(case("21") / "in.jsonl"):
        assert [role for role, _ in talk] == ["user", "assistant", "tool", "assistant"]


def test_verdicts_refuse_the_job_and_name_the_remedy(tmp_path: Path) -> None:
    path = case("07") / "in.jsonl"
    with pytest.raises(InputError, match="--where label"):
        converted(path, tmp_path / "out")
    texts, _, manifest = converted(path, tmp_path / "wanted", where=["label"])
    assert ["Blue" in text for text in texts] == [True]
    assert manifest.totals["filtered"] == {"where": 1}
    assert len(converted(path, tmp_path / "all", ignore_field=["label"])[0]) == 2


def test_a_preference_pair_names_the_option() -> None:
    with pytest.raises(InputError, match="--output-field chosen"):
        rows_of(case("08") / "in.jsonl")


def test_an_image_is_quarantined(tmp_path: Path) -> None:
    path = case("11") / "in.jsonl"
    texts, rejects, _ = converted(path, tmp_path / "out")
    assert (texts, [reject["reason"] for reject in rejects]) == ([], ["media"])
    texts, _, _ = converted(path, tmp_path / "text", ignore_field=["image"])
    assert "<image>" in texts[0]


@pytest.mark.parametrize("where", ["language = 'English'", "score > 3", "language = 'English' AND score > 3"])
def test_conditions_see_every_field(where: str, tmp_path: Path) -> None:
    texts, _, manifest = converted(case("84") / "in.jsonl", tmp_path / "out", where=[where])
    assert ["The fir" in text for text in texts] == [True]
    assert manifest.totals["filtered"] == {"where": 1}
    with pytest.raises(SettingsError, match=r"'tongue'.*no such field") as refused:
        converted(case("84") / "in.jsonl", tmp_path / "not", where=["tongue = 'English'"])
    assert "language, score" in str(refused.value)


@pytest.mark.parametrize("name", ["86", "129"])
def test_duplicates_are_told_by_the_whole_prompt(name: str, tmp_path: Path) -> None:
    texts, _, _ = converted(case(name) / "in.jsonl", tmp_path / "out", dedup="prompt")
    assert len(texts) == 2


@pytest.mark.parametrize(
    ("name", "unread"),
    [
        ("05", ["category"]),
        ("127", ["custom_id", "body.model"]),
        ("80", ["type", "conversations[].label"]),
        ("01", []),
    ],
)
def test_fields_that_are_not_read_are_named(name: str, unread: list[str]) -> None:
    changes = {"input_field": "body.messages"} if name == "127" else {}
    assert fields_of(case(name) / "in.jsonl", **changes)["unread"] == unread


def test_a_nested_conversation_is_proposed() -> None:
    with pytest.raises(InputError, match=r"--input-field body\.messages"):
        rows_of(case("127") / "in.jsonl")


def test_lima_gets_its_previews() -> None:
    rows = la.preview(case("97") / "in.jsonl", tokenizer="builtin").rows
    assert rows[0]["conversations"][0].startswith("Name a colour. The answer begins with: Blue")
    assert rows[0]["conversations"][1] == "Blue is a nice colour indeed."
