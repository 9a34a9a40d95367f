"""LaTeX of the paper's tables: escaped, balanced, and of the same numbers as the tables."""

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


def results_of(folders=None, training=NOTHING):
    folders = {name: RunFolder(path) for name, path in (folders or {}).items()}
    return Results(None, folders, {}, training, NOTHING)


def unescaped(latex, character):
    """Places where a character stands without a backslash before it."""
    return [match.start() for match in re.finditer(r"(?<!\\)" + re.escape(character), latex)]


def require_sound(latex):
    """Braces balance and never close what was not opened, environments nest, every row has as many cells."""
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
    for line in body.splitlines():
        if line.endswith("\\\\") and "\\multicolumn" not in line:
            assert len(unescaped(line, "&")) == columns - 1, line
    assert len(unescaped(latex, "$")) % 2 == 0


def test_a_hostile_name_is_printed_and_not_acted_on():
    text = escape(HOSTILE)
    assert text.startswith(r"a\_b \& 50\% \#1 \{x\} \$y\$ \textbackslash{}input\{/etc/passwd\}")
    assert "{[}z{]} {*} ''q'' \\textless{}s\\textgreater{} \\textbar{} U+00E9 \\%" in text
    assert "\n" not in text
    require_sound(tabular(HOSTILE, "t", [HOSTILE, HOSTILE], [[text, text], [text]]))


@given(st.text())
def test_no_text_reaches_latex_as_a_command(text):
    found = escape(text)
    assert found.isascii()
    require_sound(tabular(text, "t", [text, "b"], [[found, "1"]]))
    for character in "%#&_~^":
        # What is left of these stands behind a backslash.
        assert not unescaped(found, character)
    commands = re.findall(r"\\([a-zA-Z]+)", found)
    assert set(commands) <= {
        "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "pm", "times"
    }  # fmt: skip


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


def scores(backbone, seed, condition, accuracies, objective="mixed"):
    name = "" if condition == "baseline" else condition
    about = {"backbone": backbone, "seed": str(seed), "objective": objective, "condition": condition, "set": name}
    about |= {"ablation": "zero" if name else "", "control": "", "rule": "paper", "data": "paper", "n": 100}
    return [
        {**about, "subtask": subtask, "accuracy": value, "low": value - 0.1, "high": value + 0.1}
        for subtask, value in accuracies.items()
    ]


def cells(latex, row):
    line = next(line for line in latex.splitlines() if line.startswith(f"{row} &"))
    return [cell.strip() for cell in line.removesuffix("\\\\").split("&")[1:]]


def test_accuracies_are_the_tables_numbers_in_the_papers_order():
    rows = scores("gpt2_x", 0, "baseline", {"Safety": 0.5, "Math": 0.625, "Chat": 0.71})
    rows += scores("other", 0, "baseline", {"Math": 0.3333})
    found = latex_tables(results_of(), {"scores": pd.DataFrame(rows)})
    assert set(found) == {"accuracy-mixed"}
    latex = found["accuracy-mixed"]
    require_sound(latex)
    assert cells(latex, "Math") == ["62.5", "33.3"]
    assert cells(latex, "Chat") == ["71.0", "--"]
    assert "Sub-task & gpt2\\_x & other" in latex
    assert "one seed (0)" in latex
    assert "\\pm" not in latex.split("toprule")[1]
    places = [latex.index(f"\n{name} &") for name in ("Chat", "Math", "Safety")]
    assert places == sorted(places)
    assert [PAPER_SUBTASKS[name] for name in ("Math", "Safety")] == ["helpful", "harmless"]
    assert places[1] < latex.index("harmless sub-tasks") < places[2]


def test_several_seeds_have_mean_and_deviation():
    rows = [
        row
        for seed, value in ((0, 0.5), (247, 0.52), (932, 0.54))
        for row in scores("b", seed, "baseline", {"Math": value})
    ]
    latex = latex_tables(results_of(), {"scores": pd.DataFrame(rows)})["accuracy-mixed"]
    # 50, 52, 54: mean 52, deviation with n − 1 is 2.
    assert cells(latex, "Math") == ["52.0 $\\pm$ 2.0"]
    assert "3 seeds" in latex


def test_seeds_of_different_backbones_are_no_seeds_of_one():
    rows = scores("a", 0, "baseline", {"Math": 0.5}) + scores("b", 247, "baseline", {"Math": 0.6})
    latex = latex_tables(results_of(), {"scores": pd.DataFrame(rows)})["accuracy-mixed"]
    assert "one seed a backbone (0, 247)" in latex
    more = [*rows, *scores("b", 0, "baseline", {"Math": 0.7})]
    latex = latex_tables(results_of(), {"scores": pd.DataFrame(more)})["accuracy-mixed"]
    assert "of 1 to 2 seeds" in latex
    assert cells(latex, "Math") == ["50.0", "65.0 $\\pm$ 7.1"]


def test_changes_are_paired_by_seed_and_parts_averaged_over_backbones():
    rows = []
    for backbone, seed, before, own, shared in (
        ("a", 0, 0.60, 0.50, 0.58), ("a", 1, 0.70, 0.64, 0.66), ("b", 0, 0.80, 0.80, 0.50),
    ):  # fmt: skip
        rows += scores(backbone, seed, "baseline", {"Math": before})
        rows += scores(backbone, seed, "own", {"Math": own})
        rows += scores(backbone, seed, "shared", {"Math": shared})
    found = latex_tables(results_of(), {"scores": pd.DataFrame(rows)})
    # a: −10 and −6; b: 0.
    assert [cell.rpartition("}")[2] for cell in cells(found["ablation-mixed"], "Math")] == [
        "$-$8.0 $\\pm$ 2.8",
        "$+$0.0",
    ]
    # a: −2 and −4, that is −3; b: −30; the mean of the two is −16.5, and of two backbones no deviation is given.
    assert cells(found["partition"], "Math") == ["\\cellcolor{red!50}$-$16.5"]
    for latex in found.values():
        require_sound(latex)


def test_retention_rmsd_overlap_and_pairs(tmp_path):
    about = {
        "backbone": "a_b",
        "seed": "0",
        "objective": "mixed",
        "control": "",
        "measure": "combined",
        "task_type": "helpful",
    }
    about |= {
        "low": 0.1,
        "high": 0.9,
        "denominator": 10,
        "data": "reward-bench:all:filtered",
        "subtask": "alpacaeval-easy",
    }
    retention = [
        {**about, "condition": "baseline", "ablation": "", "share": 0.75},
        {**about, "condition": "shared", "ablation": "zero", "share": 0.5},
    ]
    rmsd = {"runs": "a_b-0", "objective": "mixed", "statistic": "mean_abs", "site": "post"}
    rmsd_rows = [{**rmsd, "layer": layer, "rmsd": value} for layer, value in
                 (("0", 9.0), ("all layers", 0.25), ("layers averaged first", 0.125))]  # fmt: skip
    overlap = {"runs": "a_b-0", "left": "helpful", "right": "harmless", "intersection": 184, "union": 430}
    training = {"run": "a_b-0", "backbone": "a_b", "seed": 0, "data": "sample", "n": 400}
    held_out = pd.DataFrame([{**training, "objective": "helpful", "accuracy": 0.6, "low": 0.551, "high": 0.647}])
    found = latex_tables(
        results_of({"a_b-0": tmp_path / "a_b-0"}, held_out),
        {
            "retention": pd.DataFrame(retention),
            "rmsd": pd.DataFrame(rmsd_rows),
            "overlap": pd.DataFrame([{**overlap, "jaccard": 184 / 430, "expected_jaccard": 0.0526}]),
        },
    )
    assert set(found) == {"retention", "retention-ablated", "rmsd", "overlap", "hh"}
    assert cells(found["retention"], "Alpaca Eval (Easy)") == ["75.0"]
    assert cells(found["retention-ablated"], "Alpaca Eval (Easy)") == ["75.0", "50.0"]
    assert cells(found["rmsd"], "a\\_b") == ["mixed", "post", "0.250000", "0.125000"]
    assert cells(found["overlap"], "a\\_b") == ["helpful, harmless", "184", "430", "0.428", "0.053"]
    assert cells(found["hh"], "a\\_b") == ["held out of sample", "60.0 [55.1, 64.7]", "--", "--"]
    for latex in found.values():
        require_sound(latex)


def test_hostile_names_stay_text_in_every_table():
    rows = scores(HOSTILE, 0, "baseline", {"Math": 0.5}) + scores(HOSTILE, 0, "own", {"Math": 0.4})
    rows += [{**rows[0], "rule": "every chosen above every rejected", "data": "hh-rlhf:mixed:test", "subtask": HOSTILE}]
    found = latex_tables(results_of(), {"scores": pd.DataFrame(rows)})
    assert set(found) == {"accuracy-mixed", "ablation-mixed", "hh"}
    for latex in found.values():
        require_sound(latex)
        assert "\\input" not in latex


def test_nothing_gives_no_table():
    assert latex_tables(results_of(), {}) == {}


def compiled(folder, tables):
    """What pdflatex says of a document with these tables, with the packages that they name."""
    packages = {name for latex in tables for name in re.findall(r"\\usepackage\S*\}", latex.splitlines()[0])}
    head = ["\\documentclass{article}", *sorted(packages), "\\begin{document}"]
    (folder / "all.tex").write_text("\n".join([*head, *tables, "\\end{document}\n"]))
    asked = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"]
    done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "all.log").read_text(errors="replace")


needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="NO LATEX: install Debian's texlive-latex-recommended to compile the tables in this test",
)


@needs_latex
def test_hostile_names_compile(tmp_path):
    rows = scores(HOSTILE, 0, "baseline", {"Math": 0.5}) + scores(HOSTILE, 0, "own", {"Math": 0.4})
    rows += [{**rows[0], "rule": "every chosen above every rejected", "data": "hh-rlhf:mixed:test", "subtask": HOSTILE}]
    tables = latex_tables(results_of(), {"scores": pd.DataFrame(rows)})
    compiled(tmp_path, [*tables.values(), tabular(HOSTILE, "all", [HOSTILE] * 3, [[escape(HOSTILE)]])])


@needs_latex
def test_a_table_of_many_models_is_no_wider_than_the_page(tmp_path):
    names = [f"some-backbone-{number}b-instruct" for number in range(9)]
    rows = [
        row
        for backbone, seed in itertools.product(names, (0, 247))
        for condition in ("baseline", "own", *PARTS)
        for row in scores(backbone, seed, condition, dict.fromkeys(PAPER_SUBTASKS, 0.5 + seed / 1000))
    ]
    tables = latex_tables(results_of(), {"scores": pd.DataFrame(rows)})
    assert set(tables) == {"accuracy-mixed", "ablation-mixed", "partition"}
    assert "Overfull" not in compiled(tmp_path, tables.values())
