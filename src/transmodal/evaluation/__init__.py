"""Scores that carry how they were made: of a run, of two folders, per case, per group, with intervals over subjects."""
