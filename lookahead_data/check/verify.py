"""Reading back all of a finished folder: nothing in it may be other than its manifest says."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lookahead_data.check.account import read_account
from lookahead_data.check.again import compare_again
from lookahead_data.check.files import check_files, check_quarantine
from lookahead_data.check.kinds import check_kinds
from lookahead_data.check.report import Findings, Verification
from lookahead_data.check.rows import Tally, rules_for
from lookahead_data.check.shards import check_shards
from lookahead_data.check.vocabulary import id_limit
from lookahead_data.errors import OutputError, SettingsError
from lookahead_data.listener import Listener
from lookahead_data.sink.manifest import MANIFEST
from lookahead_data.sink.publish import sha256_of


def verify(
    folder: str | os.PathLike[str],
    *,
    deep: int = 0,
    tokenizer: str | None = None,
    trust_code: bool = False,
    digest: str | None = None,
    listener: Listener | None = None,
) -> Verification:
    """Read back all of an output folder of `convert` and hold it against its manifest.

    Checked are the accounts against each other, each shard's bytes, each row (ids in the vocabulary,
    mask, labels, length), all sums, the quarantine, that every file has the SHA-256 by which it is named, and
    that nothing else stands in the folder.

    Args:
        folder: the output folder.
        deep: so many rows are converted again from the inputs too, and compared. They are taken from
            units spread over the whole job, from the start of each.
        tokenizer: where the tokenizer is, if it was moved since.
        trust_code: `deep` may import the `safety_function` that the folder names. Without it nothing that a
            folder names is imported.
        digest: the SHA-256 that `manifest.json` must have, as `convert` printed it. If it has another one,
            nothing else in the folder is looked at.
        listener: told of the progress, in bytes of the shards, and of what could not be checked.

    Returns:
        The report. It never raises for what is wrong in the folder.

    Raises:
        OutputError: there is no such folder, or `tokenizer` is not the one that the rows were made with.
        SettingsError, TokenizerError: an argument cannot be used.
    """
    path = Path(folder)
    if not path.is_dir():
        raise OutputError("there is no such folder", where=str(path))
    if deep < 0:
        raise SettingsError(f"deep must be a number of rows, not {deep}")
    if digest is not None and not re.fullmatch("[0-9a-fA-F]{64}", digest):
        raise SettingsError(f"digest must be a SHA-256 of 64 hexadecimal digits, not {digest!r}")
    listener = listener or Listener()
    findings = Findings(listener.warned)
    readable = check_kinds(path, findings)
    there = sha256_of(path / MANIFEST) if readable and (path / MANIFEST).is_file() else None
    found = None
    if not readable:
        findings.warn("no file of the folder was read, since not all are regular files")
    elif digest is not None and there is not None and there != digest.lower():
        findings.add(
            MANIFEST,
            f"is not the one of that digest: its SHA-256 is {there}, not {digest.lower()}",
            remedy="The folder holds another job's output, or somebody has changed it.",
        )
    else:
        found = read_account(path, findings)
    tally, rejects, compared = Tally(), 0, 0
    if found is not None:
        rules = rules_for(found.settings, id_limit(path, found, tokenizer, findings))
        size = sum(shard.size for shard in found.shards)
        listener.planned(size=size, units=len(found.units), shape=found.shape)
        tally = check_shards(path, found, rules, findings, listener)
        rejects = check_quarantine(path, found, findings)
        check_files(path, found, findings)
        if deep and findings.problems:
            findings.warn("the rows were not compared with the inputs, since there are problems already")
        elif deep:
            compared = compare_again(path, found, deep, tokenizer, findings, trust_code=trust_code)
        listener.finished()
    return Verification(
        folder=path,
        problems=tuple(findings.problems),
        more=findings.more,
        warnings=tuple(findings.warnings),
        shards=len(found.shards) if found else 0,
        rows=tally.rows,
        tokens=tally.tokens,
        rejects=rejects,
        compared=compared,
        digest=there,
    )
