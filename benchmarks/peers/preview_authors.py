"""How fast the LookAhead Tuning authors' script inserts previews, to compare `lookahead-data preview` with.

    python benchmarks/peers/preview_authors.py ROWS.jsonl --tokenizer FOLDER [--script PATH] [-m 6]

`--script` is `main.py` in your own clone of the authors' repository (zjunlp/LookAheadTuning); it runs as it
is, in `real` mode, on a JSON array of flat rows. Without it a plain restatement of the same steps is timed,
and the result says `"restated": true`.

`seconds` is the work alone: reading, previews, writing. Loading the tokenizer is told apart as
`start_seconds`; for the authors' script it is the time that a single row takes. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import tempfile
import time
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

CONNECTOR = " The answer begins with: "  # the authors' default


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer in a folder, also where transformers does not know its class."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError):
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        names = ("bos_token", "eos_token", "pad_token", "chat_template")
        known = {name: config[name] for name in names if isinstance(config.get(name), str)}
        return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **known)


def read_rows(path: Path, limit: int | None = None) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file, or the first `limit` of them."""
    rows = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if limit is not None and len(rows) == limit:
                break
            rows.append(json.loads(line))
    return rows


def restated(source: Path, target: Path, tokenizer: Any, preview_tokens: int) -> None:
    """The steps of the authors' `real` mode: the answer's first tokens, as text, go behind the prompt."""
    with source.open(encoding="utf-8") as file:
        rows = json.load(file)
    for row in rows:
        head = tokenizer.tokenize(row["output"])[:preview_tokens]
        row["input"] += CONNECTOR + tokenizer.convert_tokens_to_string(head)
    with target.open("w", encoding="utf-8") as file:
        json.dump(rows, file, ensure_ascii=False, indent=4)


def run_script(script: Path, source: Path, target: Path, tokenizer: Path, preview_tokens: int) -> float:
    """Wall seconds of the authors' script on one file, run as a program but in this process.

    A new process would import for several seconds, more or less each time, and drown the work.
    """
    command = [
        *(str(script), "--mode", "real", "--m", str(preview_tokens)),
        *("--input_file", str(source), "--input_format", "json"),
        *("--output_file", str(target), "--output_format", "json"),
        *("--tokenizer_path", str(tokenizer)),
    ]
    given, sys.argv = sys.argv, command
    try:
        with redirect_stdout(StringIO()):
            started = time.perf_counter()
            runpy.run_path(str(script), run_name="__main__")
            return time.perf_counter() - started
    finally:
        sys.argv = given


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the authors' script, or its steps restated.")
    parser.add_argument("file", type=Path, help="JSON Lines with prompts and completions")
    parser.add_argument("--tokenizer", type=Path, required=True, help="a folder with tokenizer.json")
    parser.add_argument("--script", type=Path, help="main.py in a clone of the authors' repository")
    parser.add_argument("-m", "--preview-tokens", type=int, default=6)
    parser.add_argument("--limit", type=int, help="only the first rows")
    parser.add_argument("--prompt-field", default="prompt")
    parser.add_argument("--completion-field", default="completion")
    options = parser.parse_args()
    rows = [
        {"input": row[options.prompt_field], "output": row[options.completion_field]}
        for row in read_rows(options.file, options.limit)
    ]
    with tempfile.TemporaryDirectory() as home:
        source, single, target = (Path(home) / f"{name}.json" for name in ("rows", "single", "out"))
        source.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        single.write_text(json.dumps(rows[:1], ensure_ascii=False), encoding="utf-8")
        if options.script:
            ways = (options.tokenizer, options.preview_tokens)
            run_script(options.script, single, target, *ways)  # imports and the file cache
            start = run_script(options.script, single, target, *ways)
            seconds = run_script(options.script, source, target, *ways) - start
        else:
            load_tokenizer(options.tokenizer)  # imports and the file cache
            started = time.perf_counter()
            tokenizer = load_tokenizer(options.tokenizer)
            loaded = time.perf_counter()
            restated(source, target, tokenizer, options.preview_tokens)
            start, seconds = loaded - started, time.perf_counter() - loaded
        written = len(json.loads(target.read_text(encoding="utf-8")))
    if written != len(rows):
        sys.exit(f"{written} of {len(rows)} rows were written")
    result = {
        "peer": "authors",
        "restated": options.script is None,
        "transformers": version("transformers"),
        "rows": len(rows),
        "start_seconds": round(start, 2),
        "seconds": round(seconds, 2),
        "rows_per_second": round(len(rows) / seconds),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
