"""A page on this machine: change a photograph, and see what models make of it.

The page loads nothing from elsewhere, its server listens on 127.0.0.1 alone, and no image is kept.
"""

from __future__ import annotations

import base64
import io
import math
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from IPython.display import HTML
from PIL import Image

from qponder_lib.data.distortions import apply
from qponder_lib.data.images import decode_rgb
from qponder_lib.data.scenes import PHOTOGRAPHS, load_photograph
from qponder_lib.student.assessment import Model

_MOST_PIXELS = 512 * 512
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def answers(
    models: Sequence[Model],
    image: Image.Image,
    *,
    blur: int = 0,
    noise: int = 0,
    jpeg: int = 0,
    exposure: int = 0,
) -> HTML:
    """Show a distorted copy of an image and, side by side, what models say about it.

    Args:
        models: They all get the same pixels: the image is first reduced to the size that the one
            with most pixels sees, 512 x 512 at most, so that what the levels do is not lost there.
        image: RGB.
        blur: Level, 0 (none) to 5.
        noise: Likewise.
        jpeg: Likewise.
        exposure: From -5 (dark) to 5 (bright).

    Raises:
        ValueError: If a level is above 5, or an exposure below -5.
    """
    most = min(_MOST_PIXELS, max(model.max_pixels for model in models))
    scale = min(1.0, math.sqrt(most / (image.width * image.height)))
    sides = [max(1, round(side * scale)) for side in image.size]
    small = image.resize(sides, Image.Resampling.LANCZOS)
    levels = {"blur": blur, "overexposure": exposure, "underexposure": -exposure}
    levels |= {"noise": noise, "jpeg": jpeg}  # in a camera's order
    pixels, rng = np.asarray(small), np.random.default_rng(0)
    for name, level in levels.items():
        pixels = apply(pixels, name, level, rng) if level > 0 else pixels
    shown, content = Image.fromarray(pixels), io.BytesIO()
    shown.save(content, "PNG")
    source = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    cards = [f'<div style="flex:1 1 20em">{m.score(shown)._repr_html_()}</div>' for m in models]
    return HTML(
        '<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start">'
        f'<img alt="the photograph, {shown.width} x {shown.height} px" src="{source}" '
        f'style="width:20em;max-width:100%;image-rendering:pixelated">{"".join(cards)}</div>'
    )


def server(models: Sequence[Model], port: int = 0) -> ThreadingHTTPServer:
    """Make the server of the page; `serve_forever` starts it.

    Args:
        models: What answers.
        port: On 127.0.0.1; 0 takes a free one.
    """
    example = Image.fromarray(load_photograph("coffee.png", *PHOTOGRAPHS["test"]["coffee.png"]))
    one_at_a_time = threading.Lock()

    class DemoPage(BaseHTTPRequestHandler):
        """The page by GET; by POST the answers about an image, or about an example if none came."""

        def do_GET(self) -> None:
            page = resources.files("qponder_lib") / "student" / "demo.html"
            self._reply(200, page.read_text(encoding="utf-8"))

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"] or 0))
            try:
                levels = {name: int(value) for name, value in parse_qsl(urlsplit(self.path).query)}
                image = decode_rgb(content) if content else example
                with one_at_a_time:
                    self._reply(200, answers(models, image, **levels).data)
            except (ValueError, TypeError) as error:  # TypeError: a slider of another name
                self._reply(400, str(error))

        def _reply(self, status: int, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", _POLICY)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing: the terminal is the user's."""

    return ThreadingHTTPServer(("127.0.0.1", port), DemoPage)
