"""The command line of this package, and the table of all commands."""
