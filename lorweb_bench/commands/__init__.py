"""The commands of `lorweb-bench` that this package itself offers."""
