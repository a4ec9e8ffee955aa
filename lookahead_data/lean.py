"""What a process that is all ours does without, so that it starts sooner and stays small."""

from __future__ import annotations

import os
import sys
from importlib.abc import MetaPathFinder

WORKER_ENVIRONMENT = {
    "POLARS_MAX_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
}
"""For a worker, which has a core to itself: libraries that start threads of their own would crowd the others.
The last two are glibc's: a large array goes back to the system when it is freed. Otherwise smaller ones come
to lie in its place, and the worker grows from batch to batch."""


def start() -> None:
    """Begin a process that nobody but the command runs in, before NumPy is loaded.

    NumPy's linear algebra starts a thread a core when it is loaded, which takes a tenth of a second of
    CPU; nothing here multiplies matrices.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def leave_out_pandas() -> None:
    """Keep pandas out of this process, which must not need it.

    pyarrow loads it, where it is installed, to look whether a list is of its kind, which takes a quarter
    of a second and fifty megabytes.
    """
    sys.meta_path.insert(0, _WithoutPandas())


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("left out on purpose: nothing here is handed a data frame", name=name)
