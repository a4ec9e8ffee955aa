"""What people see: progress, summaries, rows."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from lookahead_data.listener import Listener

if TYPE_CHECKING:
    from lookahead_data.check.inspect import SeenRow
    from lookahead_data.check.report import Problem, Verification
    from lookahead_data.curating import CurationReport
    from lookahead_data.rewrite.report import PreviewReport
    from lookahead_data.sink.manifest import Manifest
    from lookahead_data.trainers.check import TrainerCheck

STYLES = {"context": "", "preview": "bold yellow", "supervised": "green"}
MARKS = {"context": ("", ""), "preview": ("«", "»"), "supervised": ("[[", "]]")}
"""How kinds of text are told apart with colours, and without."""


class Watcher(Listener):
    """Shows a progress bar and notices on stderr."""

    def __init__(self, *, quiet: bool = False, doing: str = "converting") -> None:
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            _Rate("rows"),
            _Rate("tokens"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._doing = doing
        self._task: TaskID | None = None

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def looking(self, what: str, size: int) -> None:
        if not self._console.is_terminal:
            self._say(f"[dim]{what}[/]")
        self._begin(what, size)

    def looked(self, rows: int, size: int) -> None:
        self._advance(rows, 0, size)

    def planned(self, *, size: int, units: int, shape: str) -> None:
        self._say(f"[dim]corpus:[/] {shape}, {units} unit{'s' * (units != 1)}")
        self._begin(self._doing, size)

    def warned(self, message: str) -> None:
        self._say(f"[yellow]note:[/] {message}")

    def advanced(self, rows: int, tokens: int, size: int) -> None:
        self._advance(rows, tokens, size)

    def finished(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=self._progress.tasks[self._task].total)

    def _begin(self, what: str, size: int) -> None:
        """A bar for what begins now; the one before it is done, and stays."""
        self.finished()
        self._task = self._progress.add_task(what, total=size, rows=0, tokens=0)
        self._progress.start()

    def _advance(self, rows: int, tokens: int, size: int) -> None:
        assert self._task is not None
        fields = self._progress.tasks[self._task].fields
        self._progress.update(
            self._task, advance=size, rows=fields["rows"] + rows, tokens=fields["tokens"] + tokens
        )

    def _say(self, markup: str) -> None:
        if not self._quiet:
            self._console.print(markup, highlight=False, soft_wrap=True)


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        count, seconds = task.fields[self._unit], task.finished_time or task.elapsed
        return Text(f"{count / seconds:,.0f} {self._unit}/s" if count and seconds else "")


def show_manifest(manifest: Manifest) -> None:
    """A finished conversion in a few lines."""
    from lookahead_data.sink.counts import NOTES
    from lookahead_data.sink.receipts import QUARANTINE

    totals, settings = manifest.totals, manifest.settings
    shards = len(manifest.document["shards"])
    lengths = totals["length_quantiles"]
    again = f" ({totals['repeated']:,} are repeats)" if totals["repeated"] else ""
    click.echo(
        f"{manifest.folder}: {totals['written']:,} of {totals['read']:,} rows{again}, {totals['tokens']:,} tokens "
        f"({totals['supervised_tokens']:,} supervised) in {shards} shard{'s' * (shards != 1)}"
    )
    if settings.mode != "none":
        click.echo(
            f"  preview    {settings.mode}: {totals['previewed_rows']:,} rows show {totals['previewed_tokens']:,} "
            f"tokens; {totals['whole_answers']:,} show the whole answer"
        )
    if lengths:
        click.echo(
            f"  lengths    median {lengths['p50']:,} tokens, 99 % at most {lengths['p99']:,}, "
            f"longest {lengths['p100']:,}"
        )
    for name, source in (manifest.document["sources"] or {}).items():
        click.echo(
            f"  source     {name}: {source['written']:,} rows of {source['read']:,}, "
            f"{source['supervised_tokens']:,} supervised tokens"
        )
    if (classes := manifest.document["classes"]) and totals["safety_read"]:
        before, after = (classes["safety"][f"rows_{when}"] for when in ("read", "written"))
        click.echo(
            f"  safety     {after['count']:,} rows, {100 * after['share']:.2f} % of those written "
            f"(of those read {100 * before['share']:.2f} %)"
        )
    if settings.split:
        rows = "packed rows" if settings.pack else "rows"
        parts = (f"{name} {split['rows']:,} {rows}" for name, split in manifest.document["splits"].items())
        click.echo(f"  splits     {', '.join(parts)}")
    if settings.pack:
        padding = f", {totals['pad_tokens']:,} tokens of padding" if totals["pad_tokens"] else ""
        dropped = totals["dropped_tokens"]
        click.echo(
            f"  packed     into {totals['packed_rows']:,} rows of {settings.pack:,} tokens ({settings.packing}), "
            f"{100 * totals.get('packing_efficiency', 0):.2f} % full{padding}"
            + (f"; {dropped:,} tokens of {totals['dropped_rows']:,} rows dropped" if dropped else "")
        )
    for outcome, where in (("filtered", ""), ("quarantined", f"  → {manifest.folder / QUARANTINE}")):
        if totals[outcome]:
            click.echo(f"  {outcome:10} {_reasons(totals[outcome])}{where}")
    for kind, count in totals["notes"].items():
        click.echo(f"  note       {count:,} rows: {NOTES.get(kind, kind)}")
    click.echo(f"  digest     {manifest.digest} (SHA-256 of manifest.json; verify --digest)")


def show_report(report: PreviewReport, output: str) -> None:
    """A finished `preview` in a few lines."""
    from lookahead_data.sink.counts import NOTES

    click.echo(
        f"{output}: {report.written:,} of {report.read:,} rows, {report.previews:,} previews; "
        f"{report.whole_answers:,} show the whole answer"
    )
    if report.quarantined:
        click.echo(f"  quarantined {_reasons(report.quarantined)}  → {output}.quarantine.jsonl")
    for kind, count in report.notes.items():
        click.echo(f"  note       {count:,} rows: {NOTES.get(kind, kind)}")


def show_curation(report: CurationReport, folder: str) -> None:
    """What would be left out, by reason, and where it is told row by row."""
    left_out = report.to_dict()["left_out"]
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "no row"
    click.echo(f"{folder}: {reasons} would be left out")
    for name, counts in report.counts.items():
        told = (
            _amounts(counts)
            if name == "mixing"
            else [f"{k.replace('_', ' ')} {v}" for k, v in counts.items()]
        )
        click.echo(f"  {name:<16} {', '.join(told)}")


def _amounts(mixing: Mapping[str, Any]) -> list[str]:
    """Of what sources how many rows are left, and how often these are written."""
    amounts = mixing["amounts"]
    found = [
        f"{name}: {sum(rows.values()):,} rows times {amounts['sources'].get(name, 1):.4g}"
        for name, rows in mixing["rows"].items()
    ]
    return found + [f"class {name} times {factor:.4g}" for name, factor in amounts["classes"].items()]


def show_verification(found: Verification) -> None:
    """What `verify` found, in a line or a line a problem."""
    if found.ok:
        again = f"; {found.compared:,} rows are the same when converted again" if found.compared else ""
        click.echo(
            f"{found.folder}: all right. {found.rows:,} rows, {found.tokens:,} tokens in {found.shards} "
            f"shard{'s' * (found.shards != 1)}, {found.rejects:,} rows left out{again}"
        )
        click.echo(f"  digest     {found.digest} (SHA-256 of manifest.json)")
        return
    _show_problems(str(found.folder), found.problems, found.more)
    if not all(problem.remedy for problem in found.problems):
        click.echo("Do not train on this folder; convert the corpus again, into a new one.")


def show_check(found: TrainerCheck) -> None:
    """The settings for a trainer, all else as comments, so that the whole is a file for it; or the problems."""
    if not found.ok:
        _show_problems(f"{found.folder} does not fit {found.title}", found.problems, found.more)
        return
    _comment(
        f"{found.folder} fits {found.title}: {found.rows:,} rows, {found.tokens:,} tokens "
        f"({found.supervised_tokens:,} supervised), the longest row {found.longest:,}. "
        f"The model must be one with the tokenizer {found.tokenizer}."
    )
    click.echo(f"\n{found.settings}")
    for pitfall in found.pitfalls:
        _comment(pitfall, "- ")


def _comment(text: str, mark: str = "") -> None:
    """Print a comment of Python and YAML alike."""
    click.echo(textwrap.fill(text, 100, initial_indent=f"# {mark}", subsequent_indent=f"# {' ' * len(mark)}"))


def _show_problems(head: str, problems: Iterable[Problem], more: int) -> None:
    problems = list(problems)
    count = len(problems) + more
    click.echo(f"{head}: {count:,} problem{'s' * (count != 1)}")
    for at, problem in enumerate(problems):
        click.echo(f"  {problem}")
        # What mends several is said after the last of them.
        if problem.remedy and not any(later.remedy == problem.remedy for later in problems[at + 1 :]):
            click.echo(f"    {problem.remedy}")
    if more:
        click.echo(f"  and {more:,} more")


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())


def show_rows(rows: Iterable[SeenRow], *, ids: bool = False) -> None:
    """Rows with context, preview and supervised text told apart: by colours, or by marks without them."""
    console = Console(highlight=False, soft_wrap=True)
    coloured = console.color_system is not None and not os.environ.get("NO_COLOR")
    shown = {
        kind: Text(kind, STYLES[kind]) if coloured else Text(kind.join(MARKS[kind]))
        for kind in ("context", "preview", "supervised")
    }
    console.print(Text("  ").join(shown.values()))
    for row in rows:
        supervised = sum(len(run.ids) for run in row.runs if run.kind == "supervised")
        console.print(Text(f"── {row.name}: {len(row.input_ids)} tokens, {supervised} supervised", "dim"))
        line = Text()
        for run in row.runs:
            if coloured:
                line.append(run.text, STYLES[run.kind])
            else:
                line.append(run.text.join(MARKS[run.kind]))
        console.print(line)
        if ids:
            console.print(Text(f"input_ids {list(row.input_ids)}\nlabels    {list(row.labels)}", "dim"))


def rows_as_json(rows: Iterable[SeenRow]) -> list[dict[str, Any]]:
    """Rows as plain values."""
    return [
        {
            "name": row.name,
            "input_ids": list(row.input_ids),
            "labels": list(row.labels),
            "runs": [{"kind": run.kind, "text": run.text} for run in row.runs],
        }
        for row in rows
    ]
