"""Image editors of diffusers as a source of pairs."""
