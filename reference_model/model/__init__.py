"""The model: a frozen base, the basis of LoRAs, the router, the encoders."""
