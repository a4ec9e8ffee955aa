"""The dataset card: what `datasets.load_dataset(DIR)` reads to find the shards."""

from __future__ import annotations

from pathlib import Path

from lookahead_data.columns import COLUMNS
from lookahead_data.config import TRAIN, Settings
from lookahead_data.sink.counts import NOTES
from lookahead_data.sink.formats import ARROW
from lookahead_data.sink.manifest import Manifest
from lookahead_data.sink.profiles import PROFILES, Profile
from lookahead_data.sink.publish import write_text

CARD = "README.md"


def data_files(profile: Profile, settings: Settings) -> dict[str, str]:
    """The pattern of each split's shards in the folder."""
    if not settings.split:
        return {TRAIN: f"data/*.{profile.format}"}
    return {name: f"data/{name}-*.{profile.format}" for name in settings.splits}


def write_card(manifest: Manifest) -> None:
    """Publish the card in the output folder."""
    write_text(manifest.folder / CARD, card(manifest))


def front_matter(manifest: Manifest) -> str:
    """The YAML at the head of the card, which tells `datasets` where the shards of each split are.

    A split without rows is left out, since `datasets` fails on it; unless no split has any.
    """
    splits = manifest.document["splits"]
    empty = {name for name, split in splits.items() if not split["rows"]}
    if len(empty) == len(splits):
        empty = set()
    files = "\n".join(
        f"  - split: {name}\n    path: {path}"
        for name, path in data_files(PROFILES[manifest.settings.chosen_profile], manifest.settings).items()
        if name not in empty
    )
    return f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}\n---\n"


def card(manifest: Manifest) -> str:
    """The card's text: YAML for programs, then a few words for people."""
    document, totals, settings = manifest.document, manifest.totals, manifest.settings
    profile = PROFILES[settings.chosen_profile]
    template = document["template"]["name"] if document["template"] else "none (plain concatenation)"
    previews = {
        "real": f"the first {settings.preview_tokens} tokens of the answer",
        "virtual": f"the phrase {settings.phrase!r}, also put before the answer",
        "none": "none",
    }[settings.mode]
    inputs = ", ".join(f"`{Path(entry['path']).name}`" for entry in document["inputs"][:10])
    more = len(document["inputs"]) - 10
    packed = ""
    if settings.pack:
        full = 100 * totals.get("packing_efficiency", 0)
        packed = (
            f"\n| packed rows ({settings.packing}) | {totals['packed_rows']:,} of at most {settings.pack:,} tokens, "
            f"{full:.2f} % full; {totals['pad_tokens']:,} tokens of padding, {totals['dropped_tokens']:,} dropped |"
        )
    notes = "".join(f"- {count:,} rows: {NOTES.get(kind, kind)}\n" for kind, count in totals["notes"].items())
    again = f", of which {totals['repeated']:,} are repeats" if totals["repeated"] else ""
    rows = "packed rows" if settings.pack else "rows"
    splits = "".join(
        f"\n| {rows} of `{name}` | {split['rows']:,} |"
        for name, split in document["splits"].items()
        if settings.split
    )
    return f"""{front_matter(manifest)}
# Training rows with answer previews

Made by lookahead_data {document["versions"]["lookahead_data"]} from {inputs}{f" and {more} more" if more > 0 else ""}.

| | |
|---|---|
| rows | {totals["written"]:,}{again} |{splits}
| tokens | {totals["tokens"]:,} |
| supervised tokens | {totals["supervised_tokens"]:,} |
| rows left out | {sum(totals["filtered"].values()):,} filtered, {sum(totals["quarantined"].values()):,} quarantined |{packed}
| preview ({settings.mode}) | {previews} |
| tokenizer | {document["tokenizer"]["name"]} |
| chat template | {template} |

{notes}
{_shards(profile)}{_weights(settings)}
`manifest.json` accounts for every row; `quarantine/` has those that were left out.
"""


def _shards(profile: Profile) -> str:
    columns = "".join(f"- `{name}`: {COLUMNS[name].meaning}\n" for name in profile.columns)
    loading = (
        "Load them with `datasets.load_from_disk(FOLDER)`."
        if profile.format == ARROW
        else "Load them with `datasets.load_dataset(FOLDER)`, or point polars, DuckDB or `pyarrow.dataset` at `data/`."
    )
    return f"`data/` holds the shards, with these columns:\n\n{columns}\n{loading}"


def _weights(settings: Settings) -> str:
    if settings.preview_weight is None:
        return ""
    return (
        f"\n`weights/` holds the weight of each token in the loss, in files of the shards' names and rows: "
        f"{settings.preview_weight:g} for\npreviewed tokens, 1 for other supervised ones. Most trainers read none."
    )
