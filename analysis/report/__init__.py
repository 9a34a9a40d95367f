"""The report: one HTML page, tables, figures and LaTeX from a folder of runs."""
