"""Bases: the frozen image editors that adapters sit in, one module for each kind.

`base` says what a base has to offer, `registry` finds one by its name or in a folder.
"""
