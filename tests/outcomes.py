"""What must hold of an output folder, whatever happened: half-way, and in the end.

Both are told by comparing with the golden folder, which the same job made undisturbed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

import lookahead_data as la

MANIFEST = "manifest.json"
LOCK = "_job/lock"
RECEIPTS = "_job/receipts/"
TEMPORARY = ".tmp-"


def files(folder: Path) -> dict[str, bytes]:
    """The files below a folder by name, less the lock; the manifest without the time that it took."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != LOCK:
            found[name] = _timeless(path.read_bytes()) if name == MANIFEST else path.read_bytes()
    return found


def _timeless(manifest: bytes) -> bytes:
    try:
        return json.dumps(json.loads(manifest) | {"timing": None}).encode()
    except ValueError:
        return manifest  # which no golden one equals


def unfinished(out: Path, golden: Path, earlier: Path | None = None) -> list[str]:
    """What is wrong with a folder in which a job was stopped: half-written files, false claims.

    Every file under a final name must be as the undisturbed job made it. A receipt stands for shards
    that are there, and the manifest for all that there is.

    Args:
        earlier: what the folder held before, if it may still hold it.
    """
    there, wanted = files(out), files(golden)
    before = files(earlier) if earlier else {}
    found: list[str] = []
    for name, data in there.items():
        if any(part.startswith(TEMPORARY) for part in Path(name).parts):
            continue
        if data not in (wanted.get(name), before.get(name)):
            found.append(f"{name} is not as it should be: {len(data)} of {len(wanted.get(name, b''))} bytes")
        elif name.startswith(RECEIPTS) and data == wanted.get(name):
            shards = [shard["path"] for shard in json.loads(data)["shards"]]
            lost = [path for path in shards if there.get(path) != wanted[path]]
            found += [f"{name} names {path}, which is not there" for path in lost]
    if MANIFEST in there:
        whole = before if there[MANIFEST] == before.get(MANIFEST) else wanted
        lost = [name for name, data in whole.items() if there.get(name) != data]
        found += [f"there is a manifest, but not the {name} that goes with it" for name in lost]
    elif MANIFEST in wanted and out.is_dir() and la.verify(out).ok:
        found.append("verify passes an unfinished folder")
    return found


def finished(out: Path, golden: Path, rows: int) -> list[str]:
    """What is wrong with a folder in which a job of so many rows came to its end."""
    there, wanted = files(out), files(golden)
    found = [f"{name} is missing" for name in wanted if name not in there]
    found += [f"{name} is left over" for name in there if name not in wanted]
    found += [f"{name} differs" for name, data in there.items() if wanted.get(name, data) != data]
    if not found and MANIFEST in wanted:
        found += unconserved(out, rows)
        found += [f"verify: {problem}" for problem in la.verify(out).problems]
    return found


def unconserved(out: Path, rows: int) -> list[str]:
    """Which rows of a finished job are not accounted for: read = written + filtered + quarantined.

    Written is what the shards hold, and left out what the quarantine holds, whatever the manifest says.
    """
    document = json.loads((out / MANIFEST).read_bytes())
    found: list[str] = []
    units, totals = document["units"], document["totals"]
    for counts in [*units, totals]:
        name = f"unit {counts['unit']}" if "unit" in counts else "the job"
        left_out = sum(counts["filtered"].values()) + sum(counts["quarantined"].values())
        if counts["read"] != counts["written"] + left_out:
            found.append(f"{name}: read {counts['read']}, wrote {counts['written']}, left out {left_out}")
    for counts in units:
        at, written = counts["unit"], counts["written"]
        held = sum(pq.read_metadata(path).num_rows for path in out.glob(f"data/train-{at:05d}-*"))
        # Of packed rows each holds several of those that were written; `verify` counts these.
        if held != written and not document["settings"].get("pack"):
            found.append(f"unit {at}: the shards hold {held} rows, and {written} were written")
        path = out / "quarantine" / f"unit-{at:05d}.jsonl"
        lines = path.read_bytes().count(b"\n") if path.exists() else 0
        if lines != counts["read"] - written:
            found.append(f"unit {at}: {lines} rejects, and {counts['read'] - written} rows were not written")
    found += [
        f"the rows {name} in all units are not those of the job"
        for name in ("read", "written")
        if sum(counts[name] for counts in units) != totals[name]
    ]
    if totals["read"] != rows:
        found.append(f"read {totals['read']} of {rows} rows")
    return found
