"""Figures and one self-contained HTML file. Nothing is imported until it is asked for."""
