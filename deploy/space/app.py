"""The page as a Space on the hub; `lorweb-bench ui` serves the same one."""

import os

from reference_model.applying.analogy import AnalogyModel
from reference_model.ui.page import build_page
from reference_model.ui.serving import serve

# A checkpoint folder, `hub:owner/name@revision`, or `lorweb`, the one that ships.
serve(build_page(AnalogyModel(os.environ.get("LORWEB_BENCH_MODEL", "lorweb"))))
