"""What is done with a whole suite: verify it, publish it, look for leaks, pin it, look at it."""
