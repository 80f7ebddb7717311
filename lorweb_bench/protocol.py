"""Names and constants of the whole benchmark: a change here changes what a number means."""

import re
from typing import Final

FORMAT_VERSION: Final = 1
DATASET_FORMAT: Final = "lorweb-bench/dataset"
PREDICTIONS_FORMAT: Final = "lorweb-bench/predictions"
REPORT_FORMAT: Final = "lorweb-bench/report"

ROLES: Final = ("a", "a_prime", "b", "b_prime")
PUBLIC_ROLES: Final = ("a", "a_prime", "b")
MAX_EXEMPLARS: Final = 8  # pairs that an item may show
# The roles of the second to the eighth exemplar pair, in order.
FURTHER_PAIRS: Final = tuple((f"a_{n}", f"a_{n}_prime") for n in range(2, MAX_EXEMPLARS + 1))
EXTENSIONS: Final = ("png", "jpg", "webp")
KEY: Final = re.compile(r"[a-z0-9_-]{1,80}")

SPLITS: Final = ("train", "dev", "seen", "unseen", "test")
SUITE_SPLITS: Final = ("seen", "unseen")
PUBLIC_SPLIT: Final = "test"

SEEN_TIERS: Final = ("seen_single", "seen_composition")
UNSEEN_TIERS: Final = ("new_parameters", "new_composition", "new_family", "new_task")
# Families that neither the training dataset nor the declared base has seen. Its items lie in the
# split `unseen`, and it is a group of its own: never averaged into `unseen`.
NEW_TO_BASE: Final = "new_to_base"
TIERS: Final = (*SEEN_TIERS, *UNSEEN_TIERS, NEW_TO_BASE)
TIERS_OF_SPLIT: Final = {"seen": SEEN_TIERS, "unseen": (*UNSEEN_TIERS, NEW_TO_BASE)}
NEW_FAMILY_TIERS: Final = ("new_family", NEW_TO_BASE)  # no family of theirs is trained on
SUMMARY_GROUPS: Final = ("unseen", NEW_TO_BASE, "seen")  # in every short table, where they are

TRACKS: Final = ("closed", "open")
PROMPT_MODES: Final = ("none", "task", "instruction")

CANDIDATES: Final = 50  # retrieval candidates per item, the truth among them
# A transformation is hard where no trivial method reaches this mean edit_recovery.
HARD_THRESHOLD: Final = 0.5
PSNR_CAP: Final = 50.0  # dB
CONFIDENCE: Final = 0.95
MIN_CLUSTERS: Final = 8  # fewer clusters than this: no interval
# Of `images.resize`, the one kernel of format version 1.
RESIZE_KERNEL: Final = "area where both sides shrink, else cubic"
# Stands in every suite and its card: a text that has it was not meant for training.
CANARY: Final = (
    "lorweb-bench canary 6302aab1-1879-4cac-8b4b-d40946786770: "
    "no data of this suite should be in a training corpus"
)
PREDICT_SEED: Final = 0
BOOTSTRAP_SEED: Final = 20260217
# The public order is sorted by sha256(salt + key).
PUBLISH_SALT: Final = "lorweb-bench/public-order/1"
