"""The settings of a job: one frozen dataclass, read from keyword arguments, TOML or a manifest."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from lookahead_data.errors import SettingsError
from lookahead_data.numerals import fraction_of, parse_size, share_of

CONNECTOR = " The answer begins with: "
"""The LookAhead Tuning authors' connector; its spaces are part of it."""
PHRASE = "Let's solve this problem. "
"""The authors' phrase P of the virtual mode; its trailing space is part of it."""

MEMORY = "<memory>"
"""What manifests call rows that were handed over in memory."""

Keep: TypeAlias = Literal["first", "longest"]
Verify: TypeAlias = Literal["estimate", "exact"]

CHOICES: dict[str, tuple[str, ...]] = {
    "shape": ("auto", "prompt-completion", "alpaca", "messages", "sharegpt", "segments", "text"),
    "text_unit": ("file", "line"),
    "mode": ("real", "virtual", "none"),
    "cut": ("char", "reference"),
    "short_answer": ("keep", "skip", "drop"),
    "preview_turns": ("supervised", "last", "first", "all"),
    "supervise": ("all", "last"),
    "engine": ("auto", "tokenizers", "gigatoken"),
    "special_tokens": ("text", "allow", "reject"),
    "packing": ("best-fit", "concat"),
    "tail": ("keep", "drop", "pad"),
    "safety_by": ("sampling", "repeating"),
    "dedup": ("none", "prompt", "completion", "conversation"),
    "near_dedup_on": ("prompt", "completion", "conversation"),
    "near_dedup_keep": get_args(Keep),
    "near_dedup_verify": get_args(Verify),
    "contamination": ("filter", "report"),
    "order": ("input", "length"),
    "overlength": ("auto", "drop", "truncate", "split", "error"),
    "profile": ("auto", "sft", "packed-trl", "packed-hf", "packed-megatron", "llama-factory"),
}
"""The values that a setting may take."""

CUTS_ANSWERS = (
    "--packing concat cuts rows wherever a block ends, and would have answers learned without their prompts"
)
CUTS_ANSWERS_REMEDY = "Use --packing best-fit; concat is for plain text (--shape text --mode none)."
TRAIN = "train"
"""The split of all rows that no other split has."""

ROLES = ("system", "developer", "user", "assistant", "tool")
"""The roles that messages may have."""

IGNORABLE = ("form", "compat", "case", "space")
"""What `dedup_ignores` may hold."""

RESERVED = ("messages", "add_generation_prompt", "tools", "documents")
"""Variables of every template, which an argument must not hide."""

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a job does to its input. Every field has the command line option of the same name.

    Source
        shape: the shape of all inputs; `auto` looks at the first rows of each file and says what it found.
        input_field, output_field, system_field: names of the prompt, the completion and the system
            prompt in a prompt-completion corpus. `input_field` also names the text of a `text`
            corpus, and the list of a `messages` or `sharegpt` one. All names of fields may be dotted.
        context_field: fields that continue the prompt, in this order, beside `input` and `context`.
        history_field: earlier turns: pairs of question and answer, or messages.
        reasoning_field: what was thought before the answer.
        tools_field: the definitions of the tools of a row, a list or JSON.
        train_field: the key of a message, or the field of a row, that tells how much an answer counts in the loss:
            true, false or a number.
        role_field, content_field: the keys of a message's role and content, None for the usual ones.
        role: further names of roles, and the roles that they stand for: `{"narrator": "user"}`.
        ignore_field: fields of rows, and keys of messages, that do not matter though their names say so.
        input_split: the splits of folders (and of a `DatasetDict`) that are read; none is `train` where there are
            several, and `all` is every split.
        text_unit: what a document of a `.txt` file is: the `file`, or a `line`.
        unit_size: bytes of input that are converted and accounted for as one unit; None follows from the size
            of the input (see `planning.sized`).
        max_line_size: bytes; a longer line goes to quarantine.

    Curation (which rows of the corpus are converted)
        where: conditions in Polars' SQL that a row has to meet, each counted by itself. They may name
            `prompt`, `completion`, `conversation` (texts), `turns` (messages) and any field of the rows, and use
            `len_chars(…)`, `len_words(…)` and `len_tokens(…)` beside SQL's functions.
        keep: rates from 0 to 1 at which rows are kept, by class: `safety` and `other`. Each row is kept or not by a
            hash of it and of `seed`, so that the rate holds in expectation; where rows are counted (for `mix`
            or `safety_share`) it is exact too.
        refusals: openings of refusals, beside those that `curation.grammars` tells. Rows whose last answer refuses
            are of the class `safety`, unless the next three tell the class. Reasoning does not count.
        safety_field: the field of a row that tells whether it is of the class `safety`: true, or `safety`.
        safety_function: a function that tells it, as `module:name`; it is given the messages of a conversation,
            a list of dicts with `role` and `content`.
        safety_set: inputs (files, folders or glob patterns) all rows of which are of the class `safety`, beside
            what else tells it.
        safety_share: the share of the rows written, from 0 to 1, that rows of the class `safety` make up at least.
        safety_by: how that is reached: by `sampling` the other rows down, or by `repeating` these. It comes behind
            `mix`, whose shares may shift by it.
        exempt_safety: conditions do not apply to rows of the class `safety`, nor does sampling unless
            `keep` names it.
        mix: how often the rows of some inputs (files, folders or glob patterns) are written: 2.5 is twice, and
            half of them once more; `30%` is as often as makes them this share of all rows. Shares that add up
            to 100 % repeat no row. The numbers are met to the row: of what conditions and duplicates leave, the rows
            with the smallest hashes are written once more than the others.
        seed: of all choices by chance.
        dedup: what makes two rows duplicates of each other, equal texts in equal roles; the first stays.
        dedup_ignores: what is evened out before texts are compared, of `form` (Unicode's NFC), `compat`
            (NFKC instead), `case` and `space`.
        near_dedup: the similarity (of sets of shingles, from 0 to 1) from which rows are near
            duplicates; None looks for none.
        near_dedup_on, near_dedup_ngram, near_dedup_permutations, near_dedup_verify, near_dedup_keep: the
            text that is compared; the words of a shingle; the values of a MinHash signature; whether
            candidates are compared by signature or by shingles; which row of a cluster stays.
        decontaminate: files of evaluation items, which the corpus must not hold.
        evaluation_field: the field of an item's text in these files; None is the prompt, or the text.
        evaluation_min_words: items of fewer words are not looked for, since anything holds them.
        contamination: rows that share words with an item are left out (`filter`), or only reported.
        contamination_ngram: so many words in a row, or all of a shorter item, must not be shared.

    Arrangement (where rows go)
        split: shares of rows, from 0 to 1 or as `10%`, by the name of their split, such as `validation`; all others are
            `train`. A row's split is told by a hash of its prompt (of plain text: of all of it) and of `seed`,
            so that rows with equal prompts are in one split.
        order: of the rows of each split: `input` is that of the files; `length` goes from the fewest tokens to
            the most, and rows of equal length are in an order by chance.
        shuffle: the seed of a global shuffle (with `order` length, of rows of equal length); None does not
            shuffle.

    Preview (LookAhead Tuning, arXiv 2503.19041)
        mode: `real` previews the answer's own first tokens; `virtual` previews a phrase and puts it
            before the answer; `none` changes nothing.
        preview_tokens: m, the number of answer tokens shown in real mode.
        phrase: P, the phrase of virtual mode.
        connector: the text between prompt and preview.
        cut: `char` cuts the answer between two characters, `reference` as the authors' code does.
        short_answer: what to do with an answer of at most m tokens: preview all of it (`keep`),
            leave the row without preview (`skip`), or quarantine the row (`drop`).
        preview_turns: which assistant messages are previewed; `supervised` is every one that counts in the loss.
        preview_safety: preview rows of the class `safety`, and answers that begin as refusals do, as well. Their
            first tokens are the ones that training shall keep, not hide. None does so with `cut` reference
            alone, as the authors' code does.
        mask_preview: take the previewed tokens at the head of the answer out of the loss.
        preview_weight: the weight of these tokens in the loss, written beside the shards with 1 for every
            other supervised token; None writes no weights. Most trainers read none. Rows of the class `safety`
            have 1 throughout.

    Model
        tokenizer: a folder with `tokenizer.json`, that file, a Hub id (`name@revision` pins it), or
            `builtin`.
        chat_template: `auto` (the tokenizer's own), `none` (plain concatenation), a built-in name, or
            a file.
        template_name: which of the tokenizer's own templates `auto` takes, where it has several by name;
            None takes the one called `default`.
        template_args: further variables for the template, such as `enable_thinking`.
        template_date: the day that `strftime_now` gives, `YYYY-MM-DD`; None is the day of planning.
        end_token: a token put after the last answer where the template ends the turn with none, and
            after each document of a `text` corpus. None is the tokenizer's EOS for text, and no token
            otherwise; an empty one adds none, and leaves the post-processor's own.
        special_tokens: text of the corpus that looks like a special token stays text (`text`),
            becomes one (`allow`), or sends its row to quarantine (`reject`).
        supervise: which assistant messages count in the loss.
        engine: what encodes: `tokenizers`, `gigatoken` (many times faster, audited; the extra `fast`),
            or `auto`, the faster one that can be used.

    Result
        profile: the columns and the format of the shards (see `sink.profiles`); `auto` is `sft`, or `packed-trl`
            where rows are packed.
        pack: tokens of a packed row, into which several documents are put; None packs nothing.
        packing: `best-fit` puts whole documents where they fit best; `concat` puts those of a unit one
            after the other and cuts every `pack` tokens (`text` alone, since it cuts answers too).
        tail: what happens to a packed row that is not full: it stays shorter (`keep`), is left out and
            counted (`drop`: the last one of each unit, with `concat` alone), or is filled up (`pad`).
        max_length: the largest number of tokens of a document; None is no limit, or that of `pack` for
            best-fit.
        overlength: what happens to a longer one; `split` cuts it into documents that fit (with `pack`). `auto` is
            `split` for packed plain text and `drop` for all else; a plan has it decided.
        shard_size: bytes after which a new shard is begun.
    """

    shape: str = "auto"
    input_field: str | None = None
    output_field: str | None = None
    system_field: str | None = None
    input_split: tuple[str, ...] = ()
    text_unit: str = "file"
    context_field: tuple[str, ...] = ()
    history_field: str | None = None
    reasoning_field: str | None = None
    tools_field: str | None = None
    train_field: str | None = None
    role_field: str | None = None
    content_field: str | None = None
    role: Mapping[str, str] = field(default_factory=dict)
    ignore_field: tuple[str, ...] = ()
    unit_size: int | None = None
    max_line_size: int = 256 * MIB

    where: tuple[str, ...] = ()
    keep: Mapping[str, float] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()
    safety_field: str | None = None
    safety_function: str | None = None
    safety_set: tuple[str, ...] = ()
    safety_share: float | None = None
    safety_by: str = "sampling"
    exempt_safety: bool = True
    mix: Mapping[str, float | str] = field(default_factory=dict)
    seed: int = 0
    dedup: str = "none"
    dedup_ignores: tuple[str, ...] = ("form", "space")
    near_dedup: float | None = None
    near_dedup_on: str = "conversation"
    near_dedup_ngram: int = 5
    near_dedup_permutations: int = 128
    near_dedup_verify: Verify = "estimate"
    near_dedup_keep: Keep = "first"
    decontaminate: tuple[str, ...] = ()
    evaluation_field: str | None = None
    evaluation_min_words: int = 3
    contamination: str = "filter"
    contamination_ngram: int = 13

    split: Mapping[str, float] = field(default_factory=dict)
    order: str = "input"
    shuffle: int | None = None

    mode: str = "real"
    preview_tokens: int = 6
    phrase: str = PHRASE
    connector: str = CONNECTOR
    cut: str = "char"
    short_answer: str = "keep"
    preview_turns: str = "supervised"
    preview_safety: bool | None = None
    mask_preview: bool = False
    preview_weight: float | None = None

    tokenizer: str | None = None
    chat_template: str = "auto"
    template_name: str | None = None
    template_args: Mapping[str, Any] = field(default_factory=dict)
    template_date: str | None = None
    end_token: str | None = None
    special_tokens: str = "text"
    supervise: str = "all"
    engine: str = "auto"

    profile: str = "auto"
    pack: int | None = None
    packing: str = "best-fit"
    tail: str = "keep"
    max_length: int | None = None
    overlength: str = "auto"
    shard_size: int = 256 * MIB

    def __post_init__(self) -> None:
        self._check_types()
        # Percentages are kept as what they mean, so that a manifest has them in one form.
        shares = {
            name: value if (share := fraction_of(value)) is None else share
            for name, value in self.split.items()
        }
        object.__setattr__(self, "split", shares)
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise SettingsError(
                    f"{value!r} is not a value of {name}", remedy=f"Choose one of: {', '.join(choices)}."
                )
        if self.mode == "virtual" and not self.phrase:
            raise SettingsError(
                "the phrase is empty, so virtual mode would preview nothing",
                remedy="Give a phrase with -P, or use --mode none.",
            )
        if self.mask_preview and self.mode == "none":
            raise SettingsError("--mask-preview needs a preview, and mode is none")
        if self.preview_weight is not None and (self.mask_preview or self.mode == "none"):
            raise SettingsError(
                "--preview-weight weighs previewed tokens, and "
                + ("--mask-preview takes them out" if self.mask_preview else "mode is none"),
                remedy="Use one or the other." if self.mask_preview else "Use --mode real or virtual.",
            )
        if self.shape == "text" and self.mode != "none":
            raise SettingsError(
                f"plain text has no prompt to put a preview in, and mode is {self.mode}",
                remedy="Use --mode none for text, or name the shape that the corpus has.",
            )
        for name, rate in self.keep.items():
            if name not in ("safety", "other") or type(rate) not in (int, float) or not 0 <= rate <= 1:
                raise SettingsError(
                    f"{name}={rate} is no rate of a class",
                    where="--keep",
                    remedy="Write safety=RATE or other=RATE, with a rate from 0 to 1.",
                )
        for name in self.dedup_ignores:
            if name not in IGNORABLE:
                raise SettingsError(
                    f"{name!r} cannot be ignored by --dedup", remedy=f"Choose of: {', '.join(IGNORABLE)}."
                )
        for name, role in self.role.items():
            if role not in ROLES:
                raise SettingsError(
                    f"{name}={role} maps to no known role",
                    where="--role",
                    remedy=f"Choose of: {', '.join(ROLES)}.",
                )
        self._check_mix()
        self._check_split()
        self._check_packing()
        for name in self.template_args:
            if name in RESERVED:
                raise SettingsError(f"{name!r} is no template argument: the template is always given it")

    def _check_mix(self) -> None:
        for name, value in self.mix.items():
            share_of(value, name)
        shares = [share for value in self.mix.values() if (share := share_of(value)) is not None]
        if sum(shares) > 1 + 1e-9:
            raise SettingsError(f"the shares add up to {100 * sum(shares):g}%", where="--mix")
        if self.safety_field is not None and self.safety_function is not None:
            raise SettingsError(
                "--safety-field and --safety-function tell the same thing", remedy="Use one of them."
            )
        if self.safety_share is not None and not 0 < self.safety_share < 1:
            raise SettingsError(
                f"{self.safety_share:g} is no share of the rows",
                where="--safety-share",
                remedy="Write 0.1, say.",
            )
        if self.safety_share is None and self.safety_by != "sampling":
            raise SettingsError("--safety-by is about --safety-share, which is not given")

    def _check_split(self) -> None:
        for name, share in self.split.items():
            if type(share) not in (int, float) or not 0 < share < 1:
                raise SettingsError(
                    f"{name}={share} is no share of the rows",
                    where="--split",
                    remedy="Write a share between 0 and 1 or a percentage: validation=0.01 or validation=1%.",
                )
            if name == TRAIN or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                said = "is what the rows of no other split are" if name == TRAIN else "is no name of a split"
                raise SettingsError(
                    f"{name!r} {said}",
                    where="--split",
                    remedy="Use small letters, digits and _, such as validation or test.",
                )
        if sum(self.split.values()) >= 1:
            raise SettingsError("the splits leave no rows to train on", where="--split")
        if self.split and self.profile == "llama-factory":
            raise SettingsError(
                "the profile llama-factory is one dataset, without splits",
                where="--split",
                remedy="Convert the validation rows by themselves, into a folder of their own.",
            )

    def _check_packing(self) -> None:
        if self.pack is None:
            if self.profile.startswith("packed"):
                raise SettingsError(
                    f"the profile {self.profile} has packed rows, and nothing is packed",
                    remedy="Say how many tokens a row takes with --pack, 4096 say.",
                )
            if self.overlength == "split":
                raise SettingsError(
                    "--overlength split cuts long documents to pack them, and nothing is packed",
                    remedy="Use it with --pack, or use drop, truncate or error.",
                )
            for name in ("packing", "tail"):
                if (value := getattr(self, name)) != CHOICES[name][0]:
                    raise SettingsError(
                        f"--{name} {value} is about packed rows, and nothing is packed",
                        remedy="Say how many tokens a row takes with --pack, 4096 say.",
                    )
            return
        if self.profile in ("sft", "llama-factory"):
            raise SettingsError(
                f"the profile {self.profile} cannot tell the documents of a packed row apart",
                remedy="Use packed-trl, packed-hf or packed-megatron with --pack.",
            )
        if self.pack < 2:
            raise SettingsError("a packed row of one token has nothing to learn", where="--pack")
        if self.packing == "concat" and (self.mode != "none" or self.shape not in ("auto", "text")):
            raise SettingsError(CUTS_ANSWERS, remedy=CUTS_ANSWERS_REMEDY)
        if self.tail == "drop" and self.is_ordered:
            raise SettingsError(
                "--tail drop leaves out the rest of a unit, and ordered rows are packed across units",
                remedy="Use --tail keep or pad, or leave --shuffle and --order out.",
            )
        if self.packing == "best-fit" and self.tail == "drop":
            raise SettingsError(
                "--tail drop leaves out rows that are not full, which of best-fit rows are nearly all",
                remedy="Use --tail keep or pad, or --packing concat, where it is the last row of each unit.",
            )
        if self.packing == "best-fit" and self.max_length is not None and self.max_length > self.pack:
            raise SettingsError(
                f"documents of {self.max_length:,} tokens (--max-length) do not fit rows of {self.pack:,} (--pack)",
                remedy="Leave --max-length out: it is that of --pack then.",
            )

    @property
    def looks_at_all(self) -> bool:
        """Whether what becomes of a row depends on the other rows, or on evaluation sets."""
        duplicates = self.dedup != "none" or self.near_dedup is not None
        return duplicates or bool(self.decontaminate) or self.has_shares

    @property
    def has_shares(self) -> bool:
        """Whether rows have to be counted before it is known how often they are written: for shares, and for repeats
        that are not of whole numbers."""
        return self.safety_share is not None or any(
            share_of(value) is not None or float(value) % 1 for value in self.mix.values()
        )

    @property
    def chooses(self) -> bool:
        """Whether any row that can be read may be left out, or written more than once."""
        sampled = bool(self.keep) or bool(self.mix)
        return self.looks_at_all or bool(self.where) or sampled

    @property
    def previews_safety(self) -> bool:
        """Whether rows of the class safety are previewed, what is not decided decided."""
        return self.cut == "reference" if self.preview_safety is None else self.preview_safety

    @property
    def tells_refusals(self) -> bool:
        """Whether rows of the class safety are told by how their answers begin."""
        return self.safety_field is None and self.safety_function is None

    @property
    def tells_safety(self) -> bool:
        """Whether rows of the class safety have to be told from the others."""
        previewed = self.mode != "none" and (not self.previews_safety or self.preview_weight is not None)
        told = self.safety_field is not None or self.safety_function is not None or bool(self.safety_set)
        sampled = bool(self.keep) or self.safety_share is not None or bool(self.where and self.exempt_safety)
        return previewed or told or sampled

    @property
    def is_ordered(self) -> bool:
        """Whether rows are written in another order than that of the files."""
        return self.order != "input" or self.shuffle is not None

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of all splits."""
        return (TRAIN, *self.split)

    @property
    def tells_previewed(self) -> bool:
        """Whether the tokens that previews show have to be told from the others."""
        return self.mask_preview or self.preview_weight is not None

    @property
    def document_limit(self) -> int | None:
        """The most tokens that a document may have; None is no limit."""
        return self.max_length or (self.pack if self.packing == "best-fit" else None)

    @property
    def previewed_turns(self) -> str:
        """Which assistant messages are previewed, `last`, `first` or `all`: `supervised` decided."""
        if self.preview_turns != "supervised":
            return self.preview_turns
        return "last" if self.supervise == "last" else "all"

    @property
    def chosen_profile(self) -> str:
        """The profile, `auto` decided."""
        if self.profile != "auto":
            return self.profile
        return "packed-trl" if self.pack else "sft"

    def _check_types(self) -> None:
        """Bring values of kindred types to the declared ones, and refuse all others."""
        for name, value in vars(self).items():
            kind = next(kind for kind, names in _TYPES.items() if name in names)
            if value is None and name in _OPTIONAL:
                continue
            if name in _SIZES and isinstance(value, str):
                object.__setattr__(self, name, value := parse_size(value))
            elif kind == "a list of texts" and isinstance(value, str | os.PathLike | Sequence):
                several = [value] if isinstance(value, str | os.PathLike) else value
                value = tuple(os.fspath(item) if isinstance(item, os.PathLike) else item for item in several)
                object.__setattr__(self, name, value)
            elif kind in ("a number from 0 to 1", "a number of at least 0") and type(value) is int:
                object.__setattr__(self, name, value := float(value))
            elif kind == "text" and isinstance(value, os.PathLike):
                object.__setattr__(self, name, value := os.fspath(value))
            elif name == "template_date" and isinstance(value, datetime.date):
                object.__setattr__(self, name, value := value.isoformat()[:10])
            right = {
                "text": isinstance(value, str),
                "true or false": isinstance(value, bool),
                "a whole number of at least 1": type(value) is int and value >= 1,
                "a whole number": type(value) is int,
                "a table of names and values": isinstance(value, Mapping),
                "a number of at least 0": isinstance(value, float) and 0 <= value < math.inf,
                "a list of texts": isinstance(value, tuple) and all(isinstance(v, str) for v in value),
                "a number from 0 to 1": isinstance(value, float) and 0 <= value <= 1,
            }[kind]
            if not right:
                raise SettingsError(f"{name} must be {kind}, not {value!r}")
        if self.template_date is not None:
            try:
                datetime.date.fromisoformat(self.template_date)
            except ValueError:
                raise SettingsError(
                    f"template_date must be a day like 2026-01-31, not {self.template_date!r}"
                ) from None

    def replace(self, **changes: Any) -> Settings:
        """A copy with `changes` made; an unknown name is a `SettingsError`."""
        return dataclasses.replace(self, **known(changes, "a setting"))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, for JSON and TOML."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {
            "template_args": dict(self.template_args),
            "keep": dict(self.keep),
            "split": dict(self.split),
            "mix": dict(self.mix),
            "role": dict(self.role),
            **{name: list(getattr(self, name)) for name in _LISTS},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the settings") -> Settings:
        """Settings from plain values; an unknown name is a `SettingsError` that offers the nearest."""
        return cls(**known(values, where))


_SIZES = ("unit_size", "max_line_size", "shard_size")
_WHOLE = (
    "preview_tokens",
    "max_length",
    "pack",
    "near_dedup_ngram",
    "near_dedup_permutations",
    "contamination_ngram",
    "evaluation_min_words",
    *_SIZES,
)
_LISTS = (
    "input_split",
    "context_field",
    "ignore_field",
    "where",
    "refusals",
    "safety_set",
    "dedup_ignores",
    "decontaminate",
)
_SWITCHES = ("mask_preview", "exempt_safety", "preview_safety")
_SHARES = ("near_dedup", "safety_share")
_OPTIONAL = (
    "input_field",
    "output_field",
    "system_field",
    "history_field",
    "reasoning_field",
    "tools_field",
    "train_field",
    "role_field",
    "content_field",
    "preview_weight",
    "preview_safety",
    "safety_field",
    "safety_function",
    "safety_share",
    "near_dedup",
    "evaluation_field",
    "tokenizer",
    "template_name",
    "template_date",
    "end_token",
    "max_length",
    "pack",
    "shuffle",
    "unit_size",
)
_TABLES = ("template_args", "keep", "split", "mix", "role")
_NUMBERS = ("seed", "shuffle")
_TYPES: dict[str, tuple[str, ...]] = {
    "a whole number of at least 1": _WHOLE,
    "true or false": _SWITCHES,
    "a table of names and values": _TABLES,
    "a whole number": _NUMBERS,
    "a number of at least 0": ("preview_weight",),
    "a list of texts": _LISTS,
    "a number from 0 to 1": _SHARES,
    "text": tuple(
        f.name
        for f in dataclasses.fields(Settings)
        if f.name not in (*_WHOLE, *_LISTS, *_SHARES, *_SWITCHES, *_TABLES, *_NUMBERS, "preview_weight")
    ),
}
SETTING_NAMES = tuple(f.name for f in dataclasses.fields(Settings))
JOB_NAMES = ("inputs", "output")


def known(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings by name; an unknown name is a `SettingsError` that offers the nearest."""
    for name in values:
        if name not in SETTING_NAMES:
            near = difflib.get_close_matches(name, SETTING_NAMES + JOB_NAMES, n=1)
            raise SettingsError(
                f"{name!r} is not a setting",
                where=where,
                remedy=f"Did you mean {near[0]!r}?" if near else None,
            )
    return dict(values)
