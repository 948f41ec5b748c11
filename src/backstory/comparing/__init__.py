"""How near the rows of a synthetic table come to those of a real one, and whether they repeat them.

Rows are stored values, (N, C) of float64 with NaN where a cell is empty, and `Column` says what each column
holds. A file for each question: `quality` (columns and pairs of columns), `boosting` (what gradient boosting
makes of the rows), `privacy` (rows that are too near to training rows); `comparison` asks them all.
"""
