"""From what the user named to a plan: find, digest, recognize and divide the input."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace

from lookahead_data.config import Settings
from lookahead_data.curation.classes import module_digest
from lookahead_data.curation.mixing import check_sources
from lookahead_data.curation.where import Condition
from lookahead_data.errors import InputError
from lookahead_data.model.load import Model, load_model
from lookahead_data.plan import InputFile, Plan, Unit
from lookahead_data.sink.publish import sha256_of
from lookahead_data.source import readers
from lookahead_data.source.discover import discover
from lookahead_data.source.recognize import Recognition, recognize


def plan_job(files: Sequence[InputFile], settings: Settings) -> tuple[Plan, Model]:
    """Plan a conversion and load the model that it needs.

    Raises:
        LookaheadError: an input, a setting, the tokenizer or the template cannot be used.
    """
    seen = recognize(files, settings)
    shapes = seen.shapes
    kinds = frozenset(shape.kind for shape in shapes)
    size = sum(file.size for file in files)
    if settings.overlength == "auto":
        cuts = settings.pack is not None and kinds == {"text"}
        settings = settings.replace(overlength="split" if cuts else "drop")
    model = load_model(settings, kinds, size=size)
    if model.template is not None and model.template.uses_date and not settings.template_date:
        settings = settings.replace(template_date=datetime.date.today().isoformat())
        model = load_model(settings, kinds, size=size)
    template = {"name": model.template.name, "sha256": model.template.sha256} if model.template else None
    plan = replace(
        plan_corpus(files, settings, seen),
        tokenizer={
            "name": model.tokenizer.name,
            "sha256": model.tokenizer.sha256,
            "guarded": list(model.tokenizer.guarded),
        },
        template=template,
        warnings=(*seen.warnings, *model.warnings),
    )
    return plan, model


def plan_corpus(files: Sequence[InputFile], settings: Settings, seen: Recognition) -> Plan:
    """Plan passes over a corpus that need no model.

    Args:
        seen: what `recognize` tells of the files.

    Raises:
        LookaheadError: an input or a condition cannot be used.
    """
    for condition in settings.where:
        Condition(condition)  # refuse what is none before the work, not during it
    check_sources(settings, [file.name for file in files])
    digested = tuple(replace(file, sha256=_digest(file)) for file in files)
    return Plan(
        settings=settings,
        inputs=digested,
        units=divide(digested, settings),
        shapes=tuple(asdict(shape) for shape in seen.shapes),
        fields=tuple(fields.to_dict() for fields in seen.fields),
        tokenizer={},
        template=None,
        evaluation=_evaluation(settings),
        function=settings.safety_function and module_digest(settings.safety_function),
    )


def _evaluation(settings: Settings) -> tuple[InputFile, ...]:
    """The files of evaluation items."""
    if not settings.decontaminate:
        return ()
    return tuple(replace(file, sha256=_digest(file)) for file in discover(settings.decontaminate))


def divide(files: Sequence[InputFile], settings: Settings) -> tuple[Unit, ...]:
    """The units of all files, in order."""
    places = [(at, part) for at, file in enumerate(files) for part in readers.split(file, settings.unit_size)]
    return tuple(
        Unit(index, at, part.start, part.stop, part.first_row, part.size)
        for index, (at, part) in enumerate(places)
    )


def _digest(file: InputFile) -> str:
    try:
        digests = [sha256_of(path) for path in (file.path, *file.parts)]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=file.name) from None
