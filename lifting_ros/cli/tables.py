# SPDX-License-Identifier: Apache-2.0
"""Tables of figures on the terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping

Rows = Mapping[str, Mapping[str, float]]
"""Name of a row -> name of a column -> figure."""

_NARROWEST = 6


def print_table(title: str, rows: Rows, left_out: Collection[str] = ()) -> None:
    """Print aligned columns, without those left out; rows with the same columns share a heading."""
    print(f"\n{title}")
    name_width = max(map(len, rows), default=0)
    heading: list[str] | None = None

    for name, row in rows.items():
        figures = {column: value for column, value in row.items() if column not in left_out}
        if list(figures) != heading:
            heading = list(figures)
            titles = [column.rjust(_NARROWEST) for column in heading]
            print(f"  {'':<{name_width}}  " + "  ".join(titles))

        cells = [
            cell(value).rjust(max(_NARROWEST, len(column))) for column, value in figures.items()
        ]
        print(f"  {name:<{name_width}}  " + "  ".join(cells))


def cell(value: float) -> str:
    """A figure with three significant digits, from 10 on with one decimal, from 1000 on with none;
    `-` for NaN."""
    if value != value:
        return "-"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.3g}"
