"""Prepare fine-tuning data that keeps a model safe: LookAhead Tuning previews, at scale.

    import lookahead_data as la

    manifest = la.convert("train.jsonl", "out", tokenizer="Qwen/Qwen3-0.6B", mode="real")

`convert` writes training-ready Parquet, `preview` only the changed text, `inspect` shows rows, `verify`
reads back a finished folder, `check_for` gives the settings to train on it. The names below are the public interface; each is loaded when it is first
used, so that importing the package is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lookahead_data._version import __version__

if TYPE_CHECKING:
    from lookahead_data.api import Previewed, convert, curate, preview
    from lookahead_data.check.clusters import Clusters, inspect_clusters
    from lookahead_data.check.inspect import inspect
    from lookahead_data.check.report import Problem, Verification
    from lookahead_data.check.verify import verify
    from lookahead_data.config import Settings
    from lookahead_data.curating import CurationReport
    from lookahead_data.errors import (
        InputError,
        LookaheadError,
        OutputError,
        QuarantineError,
        SettingsError,
        TemplateError,
        TokenizerError,
    )
    from lookahead_data.jobfile import load_config
    from lookahead_data.listener import Listener
    from lookahead_data.rewrite.report import PreviewReport
    from lookahead_data.sink.manifest import Manifest
    from lookahead_data.trainers.check import TrainerCheck, check_for

_HOMES = {
    "convert": "api",
    "preview": "api",
    "curate": "api",
    "CurationReport": "curating",
    "Previewed": "api",
    "PreviewReport": "rewrite.report",
    "inspect": "check.inspect",
    "inspect_clusters": "check.clusters",
    "Clusters": "check.clusters",
    "verify": "check.verify",
    "Verification": "check.report",
    "Problem": "check.report",
    "check_for": "trainers.check",
    "TrainerCheck": "trainers.check",
    "Settings": "config",
    "load_config": "jobfile",
    "Manifest": "sink.manifest",
    "Listener": "listener",
    "LookaheadError": "errors",
    "SettingsError": "errors",
    "InputError": "errors",
    "TokenizerError": "errors",
    "TemplateError": "errors",
    "OutputError": "errors",
    "QuarantineError": "errors",
}

__all__ = [  # noqa: RUF022 (in the order in which a reader meets them)
    "__version__",
    "convert",
    "preview",
    "curate",
    "inspect",
    "inspect_clusters",
    "verify",
    "check_for",
    "Settings",
    "load_config",
    "Manifest",
    "Previewed",
    "PreviewReport",
    "CurationReport",
    "Clusters",
    "Verification",
    "TrainerCheck",
    "Problem",
    "Listener",
    "LookaheadError",
    "SettingsError",
    "InputError",
    "TokenizerError",
    "TemplateError",
    "OutputError",
    "QuarantineError",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
