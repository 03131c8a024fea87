"""Findings as a table in Markdown, which can be read in a terminal, too."""

from __future__ import annotations

from collections.abc import Sequence

from bench.chaos.findings import Finding

_HEADS = ("experiment", "figure", "min", "median", "max", "must be", "")
_RIGHT = (2, 3, 4)


def rows(finding: Finding) -> list[tuple[str, ...]]:
    """A row for each figure, the name in the first."""
    found: list[tuple[str, ...]] = []
    for number, figure in enumerate(finding.figures):
        verdict = {True: "held", False: "**NOT**", None: ""}[figure.held]
        bound = "" if figure.bound is None else str(figure.bound)
        found.append((finding.name if number == 0 else "", figure.name, *figure.words(), bound, verdict))
    return found


def as_text(findings: Sequence[Finding]) -> str:
    """The table, and below it what was done in each experiment and what else is to be known."""
    body = [row for finding in findings for row in rows(finding)]
    widths = [max(len(row[column]) for row in (_HEADS, *body)) for column in range(len(_HEADS))]

    def line(row: Sequence[str]) -> str:
        words = [
            word.rjust(width) if column in _RIGHT else word.ljust(width)
            for column, (word, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(words)} |"

    dashes = ["-" * (width - 1) + (":" if column in _RIGHT else "-") for column, width in enumerate(widths)]
    parts = ["\n".join([line(_HEADS), line(dashes), *map(line, body)])]
    for finding in findings:
        parts.append("\n".join([f"- **{finding.name}**: {finding.done}.", *(f"  - {note}" for note in finding.notes)]))
    broken = [finding.name for finding in findings if not finding.held]
    parts.append(f"NOT held: {'; '.join(broken)}" if broken else "All that must hold did.")
    return "\n\n".join(parts)
