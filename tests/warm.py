"""Imported by the server that `jobs.forked` forks from: what can be loaded beforehand is.

Polars is loaded, but not used: the threads that it then starts would be missing in a fork.
"""

from __future__ import annotations

import crews  # noqa: F401 (and all that it imports)
import pyarrow as pa

from lookahead_data import api  # noqa: F401
from lookahead_data.check import verify  # noqa: F401
from lookahead_data.config import Settings
from lookahead_data.model.load import load_model
from lookahead_data.plan import versions

model = load_model(Settings(tokenizer="builtin", engine="tokenizers"), frozenset({"prompt-completion"}))
model.tokenizer.encode_ids(["What is 1?"])
pa.array([1])  # which loads pandas, if it is installed
versions()
