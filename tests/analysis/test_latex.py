"""LaTeX of the paper's tables: escaped, balanced, and with the numbers of the tables."""

import itertools
import re
import shutil
import subprocess

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.report.latex import latex_tables
from analysis.report.latex_parts import escape, number, signed, tabular
from analysis.results.folder import Results
from tension_lens.artifacts.layout import RunFolder
from tension_lens.constants import PARTS
from tension_lens.data.benchmarks import PAPER_SUBTASKS

NOTHING = pd.DataFrame()
HOSTILE = 'a_b & 50% #1 {x} $y$ \\input{/etc/passwd} ~^ [z] * "q" <s> | é\n%'


def tables_of(scores=(), run_folders=None, training=NOTHING, **tables):
    results = Results(None, run_folders or {}, {}, training, NOTHING)
    found = latex_tables(results, {name: pd.DataFrame(rows) for name, rows in {"scores": scores, **tables}.items()})
    for latex in found.values():
        require_sound(latex)
    return found


def one_cell(text):
    return pd.DataFrame({text: [escape(text)], "b": ["1"]}, pd.Index([escape(text)], name="c"))


def unescaped(latex, character):
    """Places where a character has no backslash before it."""
    return [match.start() for match in re.finditer(r"(?<!\\)" + re.escape(character), latex)]


def require_sound(latex):
    """Braces and environments nest, every row has as many cells, and mathematics ends."""
    depth = 0
    for place in sorted(unescaped(latex, "{") + unescaped(latex, "}")):
        depth += 1 if latex[place] == "{" else -1
        assert depth >= 0
    assert depth == 0
    begun = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", latex):
        if kind == "begin":
            begun.append(name)
        else:
            assert begun.pop() == name
    assert not begun
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", latex)[1])
    body = latex.split("\\toprule\n")[1].split("\\bottomrule")[0]
    for line in body.replace("\\midrule\n", "").splitlines():
        assert line.endswith("\\\\") and len(unescaped(line, "&")) == columns - 1, line
    assert len(unescaped(latex, "$")) % 2 == 0


def cells(latex, row):
    line = next(line for line in latex.splitlines() if line.startswith(f"{row} &"))
    return [cell.strip() for cell in line.removesuffix("\\\\").split("&")[1:]]


def scores(backbone, seed, condition, accuracies, objective="mixed", **others):
    name = "" if condition == "baseline" else condition
    about = {"backbone": backbone, "seed": str(seed), "objective": objective, "condition": condition, "set": name}
    about |= {"ablation": "zero" if name else "", "rule": "paper", "data": "paper", "n": 100}
    return [
        {**about, "subtask": subtask, "accuracy": value, "low": value - 0.1, "high": value + 0.1, **others}
        for subtask, value in accuracies.items()
    ]


@given(st.text())
def test_no_text_reaches_latex_as_a_command(text):
    found = escape(text)
    assert found.isascii() and "\n" not in found
    require_sound(tabular(text, "t", one_cell(text)))
    for character in "%#&_~^":
        assert not unescaped(found, character)
    commands = re.findall(r"\\([a-zA-Z]+)", found)
    assert set(commands) <= {
        "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "pm", "times"
    }  # fmt: skip


def test_a_hostile_name_stays_readable():
    text = escape(HOSTILE)
    assert text.startswith(r"a\_b \& 50\% \#1 \{x\} \$y\$ \textbackslash{}input\{/etc/passwd\}")
    assert text.endswith(r"{[}z{]} {*} ''q'' \textless{}s\textgreater{} \textbar{} U+00E9 \%")


def test_numbers_carry_a_deviation_only_if_there_is_one():
    assert number(61.25, 1.5, 1) == "61.2 $\\pm$ 1.5"
    assert number(61.25, float("nan")) == "61.2"
    assert number(None) == number(float("nan")) == "--"
    assert number(-0.5, None, 2) == "$-$0.50"


def test_changes_are_coloured_by_sign_and_size():
    # 10 points are half of the 20 that have the full colour of 60 %.
    assert signed(-10.0) == "\\cellcolor{red!30}$-$10.0"
    assert signed(45.0) == "\\cellcolor{blue!60}$+$45.0"
    assert signed(0.0) == "$+$0.0"
    assert signed(float("nan")) == "--"


def test_accuracies_are_the_tables_numbers_in_the_papers_order():
    rows = scores("gpt2_x", 0, "baseline", {"Safety": 0.5, "Math": 0.625, "Chat": 0.71})
    found = tables_of([*rows, *scores("other", 0, "baseline", {"Math": 0.3333})])
    assert set(found) == {"accuracy-mixed"} and tables_of() == {}
    latex = found["accuracy-mixed"]
    assert cells(latex, "Sub-task") == ["gpt2\\_x", "other"]
    assert cells(latex, "Math") == ["62.5", "33.3"]
    assert cells(latex, "Chat") == ["71.0", "--"]
    places = [latex.index(f"\n{name}") for name in ("Chat &", "Math &", "\\textit{harmless", "Safety &")]
    assert places == sorted(places)


def test_a_deviation_is_over_the_seeds_of_one_backbone():
    rows = [row for seed in range(3) for row in scores("b", seed, "baseline", {"Math": 0.5 + seed / 50})]
    latex = tables_of(rows)["accuracy-mixed"]
    # 50, 52, 54: mean 52, deviation with n − 1 is 2.
    assert cells(latex, "Math") == ["52.0 $\\pm$ 2.0"]
    assert "3 seeds" in latex
    latex = tables_of(scores("a", 0, "baseline", {"Math": 0.5}) + rows)["accuracy-mixed"]
    assert cells(latex, "Math") == ["50.0", "52.0 $\\pm$ 2.0"]
    assert "1 to 3 seeds" in latex
    one_each = scores("a", 0, "baseline", {"Math": 0.5}) + scores("b", 247, "baseline", {"Math": 0.6})
    assert cells(tables_of(one_each)["accuracy-mixed"], "Math") == ["50.0", "60.0"]


def test_changes_are_paired_by_seed_and_parts_averaged_over_backbones():
    rows = []
    for backbone, seed, before, own, shared in (
        ("a", 0, 0.60, 0.50, 0.58), ("a", 1, 0.70, 0.64, 0.66), ("b", 0, 0.80, 0.80, 0.50),
    ):  # fmt: skip
        for condition, value in (("baseline", before), ("own", own), ("shared", shared)):
            rows += scores(backbone, seed, condition, {"Math": value})
    found = tables_of(rows)
    # a: −10 and −6; b: 0.
    of_own = [cell.rpartition("}")[2] for cell in cells(found["ablation-mixed"], "Math")]
    assert of_own == ["$-$8.0 $\\pm$ 2.8", "$+$0.0"]
    # a: −2 and −4, that is −3; b: −30; the mean of the two is −16.5, and of two backbones no deviation is given.
    assert cells(found["partition"], "Math") == ["\\cellcolor{red!50}$-$16.5"]


def test_retention_rmsd_overlap_and_pairs(tmp_path):
    mixed = {"backbone": "a_b", "seed": "0", "objective": "mixed", "measure": "combined"}
    mixed |= {"task_type": "helpful", "data": "reward-bench:all:filtered", "subtask": "alpacaeval-easy"}
    mixed |= {"low": 0, "high": 1, "items": 10}
    retention = [
        {**mixed, "condition": "baseline", "ablation": "", "share": 0.75},
        {**mixed, "condition": "shared", "ablation": "zero", "share": 0.5},
    ]
    layers = {"0": 9.0, "all layers": 0.25, "layers averaged first": 0.125}
    rmsd = {"runs": "a_b-0", "objective": "mixed", "statistic": "mean_abs", "site": "post"}
    overlap = {"runs": "a_b-0", "left": "helpful", "right": "harmless", "intersection": 184, "union": 430}
    training = {"run": "a_b-0", "backbone": "a_b", "seed": 0, "data": "sample", "objective": "helpful"}
    found = tables_of(
        run_folders={"a_b-0": RunFolder(tmp_path / "a_b-0")},
        training=pd.DataFrame([{**training, "accuracy": 0.6, "low": 0.551, "high": 0.647}]),
        retention=retention,
        rmsd=[{**rmsd, "layer": layer, "rmsd": value} for layer, value in layers.items()],
        overlap=[{**overlap, "jaccard": 184 / 430, "expected_jaccard": 0.0526}],
    )
    assert set(found) == {"retention", "retention-ablated", "rmsd", "overlap", "hh"}
    assert cells(found["retention"], "Alpaca Eval (Easy)") == ["75.0"]
    assert cells(found["retention-ablated"], "Alpaca Eval (Easy)") == ["75.0", "50.0"]
    assert cells(found["rmsd"], "a\\_b") == ["mixed", "post", "0.250000", "0.125000"]
    assert cells(found["overlap"], "a\\_b") == ["helpful, harmless", "184", "430", "0.428", "0.053"]
    assert cells(found["hh"], "a\\_b") == ["held out of sample", "60.0 [55.1, 64.7]", "--", "--"]


def compiled(folder, tables):
    """The log of pdflatex for a document with some tables, with the packages that they name."""
    if shutil.which("pdflatex") is None:
        pytest.skip("NO LATEX: install Debian's texlive-latex-recommended to compile the tables in this test")
    packages = {name for latex in tables for name in re.findall(r"\\usepackage\S*\}", latex.splitlines()[0])}
    document = ["\\documentclass{article}", *sorted(packages), "\\begin{document}", *tables, "\\end{document}\n"]
    (folder / "all.tex").write_text("\n".join(document))
    asked = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"]
    done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "all.log").read_text(errors="replace")


@pytest.mark.slow
def test_hostile_names_compile(tmp_path):
    strict = {"rule": "every chosen above every rejected", "data": "hh-rlhf:mixed:test"}
    rows = scores(HOSTILE, 0, "baseline", {"Math": 0.5}) + scores(HOSTILE, 0, "own", {"Math": 0.4})
    tables = tables_of(rows + scores(HOSTILE, 0, "baseline", {HOSTILE: 0.5}, **strict))
    assert set(tables) == {"accuracy-mixed", "ablation-mixed", "hh"}
    compiled(tmp_path, [*tables.values(), tabular(HOSTILE, "all", one_cell(HOSTILE))])


@pytest.mark.slow
def test_a_table_of_many_models_is_no_wider_than_the_page(tmp_path):
    names = [f"some-backbone-{number}b-instruct" for number in range(9)]
    rows = [
        row
        for backbone, seed in itertools.product(names, (0, 247))
        for condition in ("baseline", "own", *PARTS)
        for row in scores(backbone, seed, condition, dict.fromkeys(PAPER_SUBTASKS, 0.5 + seed / 1000))
    ]
    tables = tables_of(rows)
    assert set(tables) == {"accuracy-mixed", "ablation-mixed", "partition"}
    assert "Overfull" not in compiled(tmp_path, tables.values())
