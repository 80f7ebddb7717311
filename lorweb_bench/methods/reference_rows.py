"""The methods that stand in every table, so that others can be compared with them, in a sentence
each.
"""

TRIVIAL = ("copy-b", "copy-a-prime", "color-transfer")
OPEN_BOOK = "library-search"
BOUNDS = (OPEN_BOOK, "nearest-seen", "ceiling")
WITHOUT_MODEL = (*TRIVIAL, OPEN_BOOK, "nearest-seen")  # anybody can run them
TRAINED = ("lorweb", "single-lora", "token-control")
DESCRIPTIONS = {
    "lorweb": "A basis of small LoRAs in a frozen tiny base, mixed for each analogy by a light "
    "encoder of the pair.",
    "single-lora": "One LoRA with as many weights as LoRWeB in the same frozen base; it sees the "
    "pair as context only.",
    "token-control": "The single LoRA that also gets the features LoRWeB is routed by, as prompt "
    "tokens.",
    "ceiling": "The tiny base told the true transformation in words: what an adapter on it could "
    "reach at best.",
    "copy-b": "Hands b back unchanged: what doing nothing is worth.",
    "copy-a-prime": "Hands a' back, whatever b is.",
    "color-transfer": "The affine colour map fitted from a to a', applied to b.",
    "library-search": "The library's transformation that best explains a to a', run on b: what an "
    "open book can do.",
    "nearest-seen": "The trained transformation nearest to the truth; it looks at the answers, and "
    "asks whether an item is really new.",
}
