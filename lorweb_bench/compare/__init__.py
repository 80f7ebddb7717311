"""Reports side by side: paired tests, ranks, tables."""
