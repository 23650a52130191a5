"""One HTML file that needs no network: style, plots and pictures lie in it."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(package: str, template: str, **values: Any) -> str:
    """Return the text of a page; whatever it is given comes out escaped, but for plots.

    :param package: where the template lies. It may import `macros.html.j2` and include
        `style.css`, which lie here.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ''), PackageLoader(__package__, '')]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )
    environment.filters['svg'] = Markup  # our own plots
    now = datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC')
    return environment.get_template(template).render(written=now, **values)


def jpeg_uri(jpeg: bytes) -> str:
    """Return a picture as an address that holds all of it."""
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg).decode('ascii')
