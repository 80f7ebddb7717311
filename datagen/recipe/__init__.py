"""Recipes: the YAML files that say what a dataset is made of."""
