"""The files of a tokenizer: in a folder, in the package, or on the Hub."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from lookahead_data.errors import TokenizerError

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
GENERATION = "generation_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
TEMPLATE = "chat_template.jinja"
PROCESSOR_TEMPLATE = "chat_template.json"
MORE_TEMPLATES = "additional_chat_templates"
"""A folder of templates, each called after its file."""

FILES = (TOKENIZER, CONFIG, TEMPLATE, PROCESSOR_TEMPLATE, SPECIAL_TOKENS, GENERATION)
"""The files that are read from a tokenizer's folder; only the first is required."""

DEFAULT = "default"
"""The name of the template that is used unless another one is named."""

REMEDY = (
    "Give a folder with tokenizer.json, that file, a Hub id such as Qwen/Qwen3-0.6B, or builtin. "
    "An older model's tokenizer.model is converted by transformers: AutoTokenizer.from_pretrained(…)"
    ".save_pretrained(FOLDER)."
)

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(@[\w./-]+)?", re.ASCII)
_FILE_SUFFIXES = frozenset(
    (".json", ".jinja", ".model", ".tiktoken", ".txt", ".gguf", ".safetensors", ".bin")
)


def find_files(source: str) -> dict[str, bytes]:
    """The files of a tokenizer, by their names in its folder.

    Args:
        source: see `load_tokenizer`.

    Raises:
        TokenizerError: there are none, or they cannot be read.
    """
    if source == "builtin":
        return _in_folder(importlib.resources.files("lookahead_data.assets") / "tokenizer")
    path = Path(source)
    try:
        if path.is_dir():
            return _in_folder(path)
        if path.is_file():
            beside = _in_folder(path.parent) if path.name == TOKENIZER else {}
            return beside | {TOKENIZER: path.read_bytes()}
    except OSError as error:
        raise TokenizerError(f"cannot be read: {error.strerror}", where=source) from None
    if is_path(source):
        raise TokenizerError("there is no such file or folder", where=source, remedy=REMEDY)
    return _from_hub(source)


def is_path(source: str) -> bool:
    """Whether a name that is no existing file or folder is meant as one, not as a Hub id.

    Names of models have dots (`Qwen/Qwen3-0.6B`), so only the suffixes of the files of a model count.
    """
    name = source.partition("@")[0]
    return _HUB_ID.fullmatch(source) is None or Path(name).suffix.lower() in _FILE_SUFFIXES


def _in_folder(folder: Traversable) -> dict[str, bytes]:
    found = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    more = folder / MORE_TEMPLATES
    if more.is_dir():
        for file in sorted(more.iterdir(), key=lambda file: file.name):
            if file.name.endswith(".jinja") and file.is_file():
                found[f"{MORE_TEMPLATES}/{file.name}"] = file.read_bytes()
    return found


def _from_hub(source: str) -> dict[str, bytes]:
    # Imported only here: it is slow to import, and most runs have the files at hand.
    import huggingface_hub

    name, _, revision = source.partition("@")
    try:
        folder = huggingface_hub.snapshot_download(
            name, revision=revision or None, allow_patterns=[*FILES, f"{MORE_TEMPLATES}/*.jinja"]
        )
    except Exception as error:  # network, authorization, a wrong name: each has its own class
        problem = str(error).strip().split("\n")[0]
        raise TokenizerError(
            f"there is no such file or folder, and the Hub did not give it: {problem}",
            where=source,
            remedy=REMEDY,
        ) from None
    return _in_folder(Path(folder))


def parse(raw: bytes, source: str, name: str) -> dict[str, Any]:
    """A JSON object from one of the files.

    Raises:
        TokenizerError: it is something else.
    """
    try:
        document = json.loads(raw.decode("utf-8"))
    except ValueError as error:
        raise TokenizerError(f"{name} is not valid JSON: {error}", where=source) from None
    except RecursionError:
        raise TokenizerError(f"{name} is nested too deeply", where=source) from None
    if not isinstance(document, dict):
        raise TokenizerError(f"{name} is not a JSON object", where=source)
    return document


def digest_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the names and bytes of files."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {len(files[name])}\n".encode())
        digest.update(files[name])
    return digest.hexdigest()


def templates_of(files: Mapping[str, bytes], config: Mapping[str, Any], source: str) -> dict[str, str]:
    """The chat templates of a tokenizer by name, `DEFAULT` where it has one without a name.

    As in transformers, Jinja files take precedence over `tokenizer_config.json`. The
    `chat_template.json` of a processor is read where neither has a template of that name.

    Raises:
        TokenizerError: a template cannot be read.
    """
    processor = parse(files.get(PROCESSOR_TEMPLATE, b"{}"), source, PROCESSOR_TEMPLATE)
    found = _named(processor.get("chat_template")) | _named(config.get("chat_template"))
    for name, raw in files.items():
        if name == TEMPLATE or name.startswith(f"{MORE_TEMPLATES}/"):
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise TokenizerError(f"{name} is not UTF-8: {error}", where=source) from None
            found[DEFAULT if name == TEMPLATE else Path(name).stem] = text
    return found


def _named(value: Any) -> dict[str, str]:
    """Templates as a JSON file has them: one text, or a list of names and texts."""
    if isinstance(value, str):
        return {DEFAULT: value}
    if isinstance(value, list):
        value = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(name, str) and isinstance(text, str)}
