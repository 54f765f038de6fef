"""Settings of the documentation: `make docs` builds `docs/_build/html` without network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import qponder_lib  # noqa: E402

project = "Q-Ponder, small enough to watch it learn"
copyright = "the maintainers of the Q-Ponder reproduction kit, Apache-2.0"
version = release = qponder_lib.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_copybutton",
    "site_build",  # _ext/site_build.py: generated pages, links into the repository, MathML
]
exclude_patterns = ["_build"]

# ---- Markdown and notebooks
nb_execution_mode = "off"  # the reference runs executed them
nb_output_stderr = "remove"  # progress bars
nb_ipywidgets_js = {}  # would be fetched from a server; widgets keep their still form
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_math_renderer = "mathml"  # browsers draw it: no script to fetch
myst_heading_anchors = 3
myst_heading_slug_func = "site_pages.slug"
suppress_warnings = [
    "mystnb.unknown_mime_type",  # widgets
    "misc.highlighting_failure",  # printed output that looks like code
    "myst.header",  # notebooks skip levels
]

# ---- API
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_custom_sections = [("Source", "params_style")]
default_role = "code"  # docstrings write `name`, as Markdown does

# ---- HTML
html_theme = "furo"
highlight_language = "none"  # blocks without a language are commands and output
html_title = "Q-Ponder kit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
pygments_style = "tango"
