"""Figures, tables and reports from result files; no model is ever loaded here."""
