"""Methods: anything that maps triplets to images, the trivial ones among them, and running them."""
