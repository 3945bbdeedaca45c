"""The command `lint`."""

import argparse
from typing import Any

from caa_core.cli.common import columns_of, load_model
from caa_core.data.lint import lint as look
from caa_core.data.pairs import write_pairs
from caa_core.data.presets import find_table
from caa_core.data.repair import choose, mend
from caa_core.errors import InputError
from caa_core.reports.writing import check_place


def lint(options: argparse.Namespace) -> tuple[Any, str]:
    """What a file was taken for, what is wrong with it, and what was mended."""
    columns = columns_of(options)
    if bool(options.mend) != bool(options.out):
        raise InputError("--mend and --out go together: what to mend, and where to write what comes of it.")
    table = find_table(options.data)
    tokens = load_model(options).pair_tokens if options.model else None
    report = look(table, columns, tokens)
    lines = [f"{report.format}: {report.pairs} pairs, {report.usable} usable"]
    if "," in report.kinds:
        lines.append(report.kinds)
    if report.letters:
        lines.append("matching letters: " + ", ".join(f"{k} {v}" for k, v in sorted(report.letters.items())))
    lines += [f"{cut} ({count} pairs)" for cut, count in report.letter_tokens.items()]
    lines += [str(finding) for finding in report.findings]
    summary = report.summary()
    if options.mend:
        check_place(options.out)
        choices = choose(report, [remedy.strip() for remedy in options.mend.split(",")])
        mended = mend(table, report, choices, columns, tokens)
        write_pairs(mended, options.out)
        lines.append(f"{mended.name}: {len(mended.pairs)} pairs, written to {options.out}")
        summary["mended"] = {"name": mended.name, "pairs": len(mended.pairs), "file": str(options.out)}
    return summary, "\n".join(lines)


RUN = {"lint": lint}
