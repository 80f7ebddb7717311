"""The service of a board: the API, its client, and the process that serves them."""
