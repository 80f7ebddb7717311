"""Looking into a checkpoint: its LoRA space, and what each element does."""
