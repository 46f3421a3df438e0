"""How the documentation is built. Neither building nor reading it needs a network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "tokengrid"
author = "the tokengrid authors"
copyright = "the tokengrid authors, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "command_tree"]
exclude_patterns = ["_build", "extensions", "style"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = "tokengrid"
html_copy_source = False
html_static_path = ["style"]
html_css_files = ["tokengrid.css"]
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
# Links to other libraries' documentation would need their inventories, which are on a network.
nitpick_ignore_regex = [(r"py:.*", r".*")]
