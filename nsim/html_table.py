"""A table as HTML, for notebooks: escaped, no style of its own, numbers to the right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> str:
    """A heading, a table and a note; floats to four figures, whole numbers in thousands, None is empty."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    small = f"<p><small>{escape(note)}</small></p>" if note else ""
    return f"<div><p><b>{escape(title)}</b></p>{table}{small}</div>"


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
        return f'<td style="text-align:right">{text}</td>'
    return f"<td>{'' if value is None else escape(str(value))}</td>"
