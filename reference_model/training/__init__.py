"""Training: batches, the flow-matching loss, the loop, what it resumes from."""
