"""Statistics of scores: means over tiers, clustered intervals, paired tests."""
