"""The board: rows, groups of runs, pages, exports."""
