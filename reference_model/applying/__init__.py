"""One analogy at a time: the answer, the walk to a second one, and what the model makes of it."""
