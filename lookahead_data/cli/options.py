"""Options that several commands share, and how they become settings.

Every option defaults to None: what is not given comes from the configuration file, and what is not
there either from `Settings`.
"""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from lookahead_data.config import CHOICES, IGNORABLE, Settings
from lookahead_data.errors import LookaheadError, SettingsError
from lookahead_data.jobfile import Job, load_config
from lookahead_data.lean import leave_out_pandas
from lookahead_data.numerals import parse_size

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

DEFAULTS = Settings()

OWN_PROCESS = "own process"
"""What `click` hands on where nothing but a command runs in this process."""


class Size(click.ParamType[int]):
    """A number of bytes, written like 256MB or 64MiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(value)
        except SettingsError as error:
            self.fail(str(error), param, ctx)


def _choice(name: str, help: str) -> Decorator[Any]:
    return _option(name, help, type=click.Choice(CHOICES[name]), default=getattr(DEFAULTS, name))


def _option(name: str, help: str, *flags: str, default: str | None = None, **kwargs: Any) -> Decorator[Any]:
    # click would show its own default, which is None; what counts is that of `Settings`.
    shown = f"{help}  [default: {default}]" if default else help
    return click.option(*flags, f"--{name.replace('_', '-')}", name, default=None, help=shown, **kwargs)


SOURCE: tuple[Decorator[Any], ...] = (
    _choice("shape", "The shape of all inputs; auto looks at each file's first rows and says what it found."),
    _option("input_field", "Field of the prompt (or of the text, or of the messages).", metavar="NAME"),
    _option("output_field", "Field of the completion.", metavar="NAME"),
    _option("system_field", "Field of the system prompt.", metavar="NAME"),
    _option("max_line_size", "A longer line goes to quarantine.", type=Size(), default="256MiB"),
)
TOKENIZER: tuple[Decorator[Any], ...] = (
    _option(
        "tokenizer",
        "The model's: a folder with tokenizer.json, that file, a Hub id (NAME@REVISION pins it), or builtin.",
        "-t",
        metavar="T",
    ),
)
SAFETY: tuple[Decorator[Any], ...] = (
    click.option(
        "--refusal",
        "refusals",
        multiple=True,
        metavar="TEXT",
        help="A further opening of refusals; rows that end in one are of the class safety. May be given several times.",
    ),
    _option(
        "safety_field", "The field that tells the class safety instead: true, or 'safety'.", metavar="NAME"
    ),
    _option(
        "safety_function",
        "The Python function that tells it instead, given the messages.",
        metavar="MODULE:NAME",
    ),
    _option(
        "safety_set",
        "An input all rows of which are of the class safety. May be given several times.",
        multiple=True,
        metavar="INPUT",
    ),
)
CURATION: tuple[Decorator[Any], ...] = (
    _option(
        "where",
        "Keep the rows that meet a condition: 'len_chars(completion) > 20'. May be given several times.",
        multiple=True,
        metavar="EXPR",
    ),
    click.option(
        "--keep",
        "keep",
        multiple=True,
        metavar="CLASS=RATE",
        help="Sample rows by class, safety or other: other=0.5.",
    ),
    click.option(
        "--mix",
        "mix",
        multiple=True,
        metavar="INPUT=N|P%",
        help="Write the rows of an input so often (2.5, 0.3), or as often as makes them a share of all (30%).",
    ),
    _option(
        "safety_share",
        "The share of the rows that the class safety makes up at least.",
        type=click.FloatRange(0, 1),
        metavar="SHARE",
    ),
    _choice("safety_by", "How that is reached: by sampling the others, or by repeating these."),
    click.option(
        "--exempt-safety/--no-exempt-safety",
        "exempt_safety",
        default=None,
        help="Whether --where passes over safety rows.  [default: it does]",
    ),
    _option("seed", "Of all choices by chance.", type=int, default="0"),
    _choice("dedup", "Leave out rows whose prompt, completion or conversation an earlier row has."),
    _option(
        "dedup_ignores",
        "What does not count when --dedup compares; given several times, all of them.",
        type=click.Choice(IGNORABLE),
        multiple=True,
        default="form, space",
    ),
    _option(
        "near_dedup",
        "Leave out rows that are nearly the same as another, from this similarity on (0.8, say).",
        type=click.FloatRange(0, 1),
        metavar="THRESHOLD",
    ),
    _choice("near_dedup_on", "The text that --near-dedup compares."),
    _option("near_dedup_ngram", "Words of a shingle.", type=click.IntRange(1), default="5"),
    _option("near_dedup_permutations", "Values of a signature.", type=click.IntRange(2), default="128"),
    _choice("near_dedup_verify", "How candidates are compared: by signature, or exactly."),
    _choice("near_dedup_keep", "Which row of a cluster stays."),
    _option(
        "decontaminate",
        "Leave out rows that hold an item of this evaluation set. May be given several times.",
        multiple=True,
        metavar="FILE",
    ),
    _option("evaluation_field", "Field of an item's text.  [default: the prompt]", metavar="NAME"),
    _option(
        "evaluation_min_words",
        "Items of fewer words are not looked for: anything holds them.",
        type=click.IntRange(1),
        metavar="N",
        default="3",
    ),
    _choice("contamination", "Whether such rows are left out, or only reported."),
    _option(
        "contamination_ngram",
        "So many words in a row (or a whole shorter item) must not be shared.",
        type=click.IntRange(1),
        default="13",
    ),
)
ARRANGEMENT: tuple[Decorator[Any], ...] = (
    click.option(
        "--split",
        "split",
        multiple=True,
        metavar="NAME=SHARE",
        help="Give a share of the rows to a split: validation=0.01. Equal prompts go to one side.",
    ),
    _option("shuffle", "Put all rows in an order by chance.", type=int, metavar="SEED"),
    _choice("order", "The order of rows: that of the input, or from the fewest tokens to the most."),
)
PREVIEW: tuple[Decorator[Any], ...] = (
    _choice(
        "mode",
        "real previews the answer's first tokens; virtual previews a phrase and puts it before the answer.",
    ),
    _option(
        "preview_tokens", "Answer tokens that real mode previews.", "-m", type=click.IntRange(1), default="6"
    ),
    _option("phrase", "The phrase of virtual mode.", "-P", default=repr(DEFAULTS.phrase)),
    _option("connector", "Text between prompt and preview.", default=repr(DEFAULTS.connector)),
    _choice("cut", "Where the preview ends: between two characters, or as in the authors' code."),
    _choice(
        "short_answer", "An answer of at most m tokens: preview it whole, skip its preview, or drop the row."
    ),
    _choice("preview_turns", "Which answers of a conversation are previewed."),
    click.option(
        "--preview-safety/--no-preview-safety",
        "preview_safety",
        default=None,
        help="Whether rows of the class safety are previewed too.  [default: they are not, unless --cut reference]",
    ),
)
MODEL: tuple[Decorator[Any], ...] = (
    _option(
        "chat_template",
        "auto (the tokenizer's own), none, alpaca, chatml, gemma, llama3, or a Jinja file.",
        default="auto",
    ),
    click.option(
        "--template-arg",
        "template_args",
        multiple=True,
        metavar="KEY=VALUE",
        help="A variable for the template, as JSON or text: enable_thinking=false.",
    ),
    _option("template_date", "The day that the template is told.", metavar="YYYY-MM-DD", default="today"),
    _option(
        "end_token",
        "A token to end the answer with where the template ends it with none, and to end each document of "
        "text with (default: the tokenizer's EOS; '' is none).",
        metavar="TOKEN",
    ),
    _choice("special_tokens", "Text of the corpus that looks like a special token."),
    _choice("supervise", "Which answers of a conversation count in the loss."),
    _choice("engine", "What encodes; auto is gigatoken where it can be used, audited against tokenizers."),
    click.option(
        "--mask-preview/--no-mask-preview",
        "mask_preview",
        default=None,
        help="Take the previewed tokens at the head of the answer out of the loss.",
    ),
    _option(
        "preview_weight",
        "Write loss weights beside the shards: this for previewed tokens, 1 for other supervised ones.",
        type=click.FloatRange(0),
        metavar="W",
    ),
)
RESULT: tuple[Decorator[Any], ...] = (
    _choice("profile", "The columns and format of the shards; auto is sft, or packed-trl with --pack."),
    _option("pack", "Pack documents into rows of so many tokens.", type=click.IntRange(2)),
    _choice(
        "packing",
        "best-fit keeps documents whole; concat (text alone) cuts them where a row ends, and fills all.",
    ),
    _choice("tail", "A packed row that is not full; drop, with concat alone, leaves out each unit's last."),
    _option("max_length", "The most tokens that a document may have.", type=click.IntRange(1)),
    _choice("overlength", "What happens to a longer one; split (with --pack) cuts it into documents."),
    _option("shard_size", "Bytes after which a new shard is begun.", type=Size(), default="256MiB"),
    _option("unit_size", "Bytes of input that are converted as one unit.", type=Size(), default="64MiB"),
)


def options(*groups: tuple[Decorator[Any], ...]) -> Decorator[Any]:
    """All options of the groups, in their order."""

    def decorate(command: Any) -> Any:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    help="A TOML file with settings, inputs and output, or a manifest.json. Options go before it; paths "
    "in it are relative to where you are.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress, no notices.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an earlier output.")


def settings_from(config: str | None, given: dict[str, Any]) -> tuple[Settings, Job]:
    """Settings from the configuration file and the options, which go first."""
    job = load_config(config) if config else Job({})
    chosen = {name: value for name, value in given.items() if value not in (None, ())}
    if "template_args" in chosen:
        chosen["template_args"] = dict(_template_arg(text) for text in chosen["template_args"])
    for name, form in (("keep", "CLASS=RATE"), ("split", "NAME=SHARE"), ("mix", "INPUT=N or INPUT=P%")):
        if name in chosen:
            chosen[name] = dict(_number(text, f"--{name}", form) for text in chosen[name])
    function = job.settings.get("safety_function")
    if job.of_folder and function is not None and "safety_function" not in chosen:
        raise SettingsError(
            f"the manifest names the safety function {function!r}, and code that a folder names is not run",
            where=config,
            remedy=f"If you trust that code, repeat it: --safety-function {function}.",
        )
    settings = Settings.from_dict({**job.settings, **chosen})
    # The user's own function may need it, and so may a program that runs a command in its own process.
    if settings.safety_function is None and click.get_current_context().find_root().obj == OWN_PROCESS:
        leave_out_pandas()
    return settings, job


def _template_arg(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"{text!r} is no KEY=VALUE", where="--template-arg")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _number(text: str, option: str, form: str) -> tuple[str, float | str]:
    name, _, number = text.rpartition("=")
    try:
        return name, number if number.endswith("%") else float(number)
    except ValueError:
        raise SettingsError(f"{text!r} is no {form}", where=option) from None


def told(command: Command) -> Command:
    """Tell a failure in words on stderr and by the exit status, without a traceback."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that knows ASCII alone shows the rest as ?
        try:
            return command(*args, **kwargs)
        except LookaheadError as error:
            _leave(str(error), error.exit_status)
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output has gone, as `head` does
            sys.exit(0)
        except OSError as error:
            _leave(f"{error.filename or 'the output'}: {error.strerror or error}", 1)
        except KeyboardInterrupt:
            _leave("stopped. What is finished stays: the same command goes on from there.", 130)

    return guarded  # type: ignore[return-value]


def _leave(message: str, status: int) -> NoReturn:
    click.secho("Error: ", fg="red", bold=True, err=True, nl=False)
    click.echo(message, err=True)
    sys.exit(status)
