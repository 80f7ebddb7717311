"""A vision-language model as the judge of predictions, behind any endpoint that speaks the chat
protocol of OpenAI.

Two protocols, after the LoRWeB paper (arXiv 2602.15727) in words of our own: `rating` gives each
prediction an accuracy and a consistency from 1 to 10, `choice` says which of two predictions is
better. Neither looks at the true answer.
"""
