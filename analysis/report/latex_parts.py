r"""Parts of LaTeX tables: escaped text, numbers with their deviation, coloured changes, the table around them."""

import re

import pandas as pd

PREAMBLE = "% needs \\usepackage{booktabs}, \\usepackage{graphicx} and \\usepackage[table]{xcolor}"
FIT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
"""Around a table: one that is wider than the text is scaled to its width, another is left as it is."""
COLUMN_GAP = "\\setlength{\\tabcolsep}{4pt}"
"""Half of the gap between columns; narrower than LaTeX's 6pt, so that wide tables are scaled less."""
MISSING = "--"
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "`": "{`}", "[": "{[}", "]": "{]}", "*": "{*}", "−": "$-$", "±": r"$\pm$",
    "×": r"$\times$",
}  # fmt: skip
LOSS, GAIN = "red", "blue"
"""Colours of a change; their strength grows with its size."""
FULL, STRONGEST = 60, 20.0
"""Percent of colour in the strongest cell, and how many points of change it takes."""


def escape(text: object) -> str:
    """Text as LaTeX prints it, with nothing in it that LaTeX would act on.

    Brackets and stars stand in braces, since at the start of a row they would be arguments of the row before. A control
    character becomes a space, a character beyond ASCII its code, `U+4E2D`: which ones a document can print depends on
    its fonts.
    """
    plain = "".join(SPECIAL[one] if one in SPECIAL else _plain(one) for one in str(text))
    # Two hyphens would be drawn as one dash.
    return re.sub("-(?=-)", "-{}", plain)


def _plain(character: str) -> str:
    if not character.isascii():
        return f"U+{ord(character):04X}"
    return character if character.isprintable() else " "


def number(mean: float | None, sd: float | None = None, digits: int = 1) -> str:
    """A number, `± sd` after it where there is one; `--` where there is no number."""
    if mean is None or pd.isna(mean):
        return MISSING
    text = f"{mean:.{digits}f}".replace("-", "$-$")
    return text if sd is None or pd.isna(sd) else f"{text} $\\pm$ {sd:.{digits}f}"


def signed(mean: float | None, sd: float | None = None) -> str:
    """A change in points with its sign; the cell is blue for a gain and red for a loss, the stronger the larger."""
    if mean is None or pd.isna(mean):
        return MISSING
    text = f"{mean:+.1f}".replace("-", "$-$").replace("+", "$+$")
    text += "" if sd is None or pd.isna(sd) else f" $\\pm$ {sd:.1f}"
    strength = round(FULL * min(1.0, abs(mean) / STRONGEST))
    return f"\\cellcolor{{{GAIN if mean > 0 else LOSS}!{strength}}}{text}" if strength else text


def tabular(caption: str, label: str, heads: list[str], rows: list[list[str]], words: int = 1) -> str:
    """A table that compiles with the packages its first line names and is no wider than the text around it.

    Args:
        caption: text, escaped here.
        label: of the reference, after `tab:`; letters, digits, dots and dashes.
        heads: of the columns, text, escaped here.
        rows: cells of LaTeX; a row of one cell spans all columns.
        words: how many columns at the left are words.
    """
    width = len(heads)
    spans = f"\\multicolumn{{{width}}}{{l}}"
    body = [f"{spans}{{{row[0]}}}" if len(row) == 1 < width else " & ".join(row) for row in rows]
    lines = [
        PREAMBLE,
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escape(caption)}}}",
        f"\\label{{tab:{label}}}",
        "\\smallskip",
        COLUMN_GAP,
        FIT,
        f"\\begin{{tabular}}{{{'l' * words}{'r' * (width - words)}}}",
        "\\toprule",
        " & ".join(map(escape, heads)) + " \\\\",
        "\\midrule",
        *(f"{one} \\\\" for one in body),
        "\\bottomrule",
        "\\end{tabular}}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"
