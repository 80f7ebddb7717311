"""Reports of scores, the pages that show them, and the drawings that every page shares."""
