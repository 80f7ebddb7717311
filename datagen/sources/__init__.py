"""Where images come from: photographs, procedural scenes, and pairs that somebody edited."""
