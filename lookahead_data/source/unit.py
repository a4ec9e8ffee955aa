"""One unit of a corpus as batches of conversations, by the quickest reader that its format allows."""

from __future__ import annotations

from collections.abc import Iterator

from lookahead_data.batches import Staged
from lookahead_data.plan import InputFile, Plan, Unit
from lookahead_data.source import arrays_of_json, blocks, readers, tables
from lookahead_data.source.conversations import BATCH_BYTES, Shape, converse
from lookahead_data.source.names import wanted
from lookahead_data.source.readers import columnar, json_array, jsonl
from lookahead_data.source.records import Split


def wanted_columns(file: InputFile, shape: Shape) -> list[str] | None:
    """The columns of a file that have to be read, None where it is not one of columns."""
    if file.format not in ("parquet", "arrow"):
        return None
    return wanted(columnar.schema(file).names, shape.all_fields)


def conversations_of(unit: Unit, plan: Plan) -> Iterator[tuple[Staged, int]]:
    """Batches with the columns `row`, `offset`, `messages`, each with the bytes of input that it took.

    Raises:
        InputError: the file cannot be read, or changed meanwhile.
    """
    file = plan.inputs[unit.file]
    file.check_unchanged()
    part = Split(unit.start, unit.stop, unit.first_row, unit.size)
    shape = Shape(**plan.shapes[unit.file])
    limit = plan.settings.max_line_size
    if file.format in ("jsonl", "json") and blocks.handles(shape):
        if file.format == "json" and not json_array.is_lines(file):
            yield from arrays_of_json.conversations(file, part, shape, limit)
        else:
            lines = (blocks.Block(*block) for block in jsonl.blocks(file, part, BATCH_BYTES, limit))
            yield from blocks.conversations(lines, shape, limit)
    elif file.format in ("parquet", "arrow") and tables.handles(columnar.schema(file), shape):
        yield from tables.conversations(file, part, shape)
    else:
        records = readers.read(file, part, max_line_size=limit, names=wanted_columns(file, shape))
        yield from converse(records, shape)
    file.check_unchanged()
