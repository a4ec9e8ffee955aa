"""The Hugging Face Trainer (transformers, as of 5.23).

It hands the model every column that the model's `forward` takes. Packed rows are told by position ids
that begin at 0 again, and only where there is no attention mask and no cache
(`transformers.masking_utils`, `modeling_flash_attention_utils`).
"""

from __future__ import annotations

from lookahead_data.trainers.datasets import evaluation, loader, loading, strategy
from lookahead_data.trainers.trainer import Contents, Trainer, quoted


def _settings(contents: Contents) -> str:
    return _packed(contents) if contents.packed else _padded(contents)


def _padded(contents: Contents) -> str:
    return f"""from datasets import {loader(contents)}
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

model = {quoted(contents.model)}
tokenizer = AutoTokenizer.from_pretrained(model)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

trainer = Trainer(
    model=AutoModelForCausalLM.from_pretrained(model),
    args=TrainingArguments(
        output_dir="trained",
{strategy(contents)}    ),
    data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
    train_dataset={loading(contents)},
{evaluation(contents)}    processing_class=tokenizer,
)
trainer.train()
"""


def _packed(contents: Contents) -> str:
    single = "        per_device_eval_batch_size=1,  # as in training\n" if contents.evaluates else ""
    return f"""from datasets import {loader(contents)}
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, default_data_collator

trainer = Trainer(
    model=AutoModelForCausalLM.from_pretrained(
        {quoted(contents.model)},
        attn_implementation="flash_attention_2",
        use_cache=False,  # with a cache, sdpa and eager do not look at position_ids
    ),
    args=TrainingArguments(
        output_dir="trained",
        per_device_train_batch_size=1,  # one row of up to {contents.row_tokens:,} tokens; raise gradient_accumulation_steps
{strategy(contents)}{single}    ),
    data_collator=default_data_collator,
    train_dataset={loading(contents)},
{evaluation(contents)})
trainer.train()
"""


def _pitfalls(contents: Contents) -> list[str]:
    if contents.packed:
        return [
            "No attention_mask, and none from a collator: with one the documents of a row see each other.",
            "DataCollatorWithFlattening is not for packed rows: it takes each row for one document, and writes "
            "position_ids of its own. (It is for rows of the profile sft, which it packs as they come.)",
            "per_device_train_batch_size=1: FlashAttention reads position_ids so only where the batch is one row.",
            "FlashAttention keeps documents apart at no cost. sdpa and eager do so too (transformers 4.53 and "
            "newer), with a mask as large as the row's tokens squared; other attention functions do not.",
        ]
    return [
        "DataCollatorForLanguageModeling breaks on rows of unequal length that have labels, and overwrites those of "
        "equal length with all of input_ids: prompts would be learned too. DataCollatorForSeq2Seq pads them with -100.",
        "Without a collator the Trainer pads input_ids alone, and breaks on labels of unequal length.",
        f"Nothing cuts rows: the longest has {contents.longest:,} tokens. Convert with --max-length if that is "
        "too many.",
    ]


TRAINER = Trainer(
    title="the Hugging Face Trainer",
    reads=("sft", "packed-hf", "llama-factory"),
    refuses={
        "packed-trl": "tells its documents by seq_lengths, a column that no model takes: they would see each other",
        "packed-megatron": "has no labels, so there would be no loss",
    },
    language="python",
    settings=_settings,
    pitfalls=_pitfalls,
)
