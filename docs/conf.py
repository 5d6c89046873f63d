"""How Sphinx builds the pages (`make docs`). MyST reads the Markdown that code hosts show, its anchors included."""

from importlib import metadata

project = "Maskmill"
release = metadata.version("maskmill")
extensions = ["myst_parser"]
root_doc = "index"
exclude_patterns = ["reference"]
myst_heading_anchors = 4
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"Maskmill {release}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
