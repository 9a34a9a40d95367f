r"""Parts of LaTeX tables: escaped text, numbers with their standard deviation, coloured changes, the table itself."""

import re

import pandas as pd

PACKAGES = "% needs \\usepackage{booktabs}, \\usepackage{graphicx} and \\usepackage[table]{xcolor}"
FIT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
"""Scales a table that is wider than the text to the width of the text."""
COLUMN_GAP = "\\setlength{\\tabcolsep}{4pt}"
"""Half the gap between columns, less than LaTeX's 6pt, so that wide tables are scaled less."""
MISSING = "--"
SPECIAL = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "`": "{`}", "[": "{[}", "]": "{]}", "*": "{*}", "−": "$-$", "±": r"$\pm$",
    "×": r"$\times$",
})  # fmt: skip
LOSS, GAIN = "red", "blue"
"""Colours of changes, stronger for larger changes."""
FULL, STRONGEST = 60, 20.0
"""Percentage of colour in the strongest cell, and the change in points that it takes."""


def escape(text: object) -> str:
    """Text with everything escaped that LaTeX, or a table row, would interpret.

    pandas' own escaping leaves brackets and stars, which LaTeX takes for arguments of the preceding row if they start a
    row, and characters that standard fonts lack. Here brackets and stars are in braces, control characters are spaces,
    and other characters beyond ASCII are their code, `U+4E2D`.
    """
    plain = re.sub(r"[\x00-\x1f\x7f]", " ", str(text)).translate(SPECIAL)
    plain = re.sub(r"[^\x00-\x7f]", lambda found: f"U+{ord(found[0]):04X}", plain)
    return re.sub("-(?=-)", "-{}", plain)  # two hyphens would be typeset as one dash


def number(mean: float | None, sd: float | None = None, digits: int = 1, sign: str = "") -> str:
    """A number, followed by `± sd` if there is one; `--` if there is no number."""
    if mean is None or pd.isna(mean):
        return MISSING
    text = re.sub("[-+]", r"$\g<0>$", f"{mean:{sign}.{digits}f}")
    return text if sd is None or pd.isna(sd) else f"{text} $\\pm$ {sd:.{digits}f}"


def signed(mean: float | None, sd: float | None = None) -> str:
    """A change in points with its sign, in a cell coloured by sign and size."""
    text = number(mean, sd, sign="+")
    if mean is None or pd.isna(mean):
        return text
    strength = round(FULL * min(1.0, abs(mean) / STRONGEST))
    return f"\\cellcolor{{{GAIN if mean > 0 else LOSS}!{strength}}}{text}" if strength else text


def tabular(caption: str, label: str, cells: pd.DataFrame) -> str:
    """A table that compiles with the packages named in its first line and fits the width of the text.

    Args:
        caption: text, escaped here.
        label: of the reference, after `tab:`; letters, digits, dots and dashes.
        cells: LaTeX in index and cells. The names of columns and index levels are text, escaped here.
    """
    columns = "l" * cells.index.nlevels + "r" * len(cells.columns)
    styler = cells.reset_index(allow_duplicates=True).style.hide(axis="index").format_index(escape, axis="columns")
    body = styler.to_latex(column_format=columns, hrules=True)
    return "\n".join([
        PACKAGES,
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escape(caption)}}}",
        f"\\label{{tab:{label}}}",
        "\\smallskip",
        COLUMN_GAP,
        f"{FIT}\n{body.rstrip()}}}",
        "\\end{table}\n",
    ])  # fmt: skip
