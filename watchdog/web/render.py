"""Templates and the files beside them. Everything is escaped; nothing is loaded from elsewhere."""

import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import jinja2

_PLACE: Final = "data/templates"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A file that pages refer to."""

    body: bytes
    content_type: str


@cache
def assets() -> dict[str, Asset]:
    """Every asset by its name, read once."""
    folder = resources.files("watchdog").joinpath(f"{_PLACE}/assets")
    found = {}
    for file in folder.iterdir():
        kind = _TYPES.get("." + file.name.rpartition(".")[2])
        if kind:
            found[file.name] = Asset(file.read_bytes(), kind)
    return found


@cache
def assets_version() -> str:
    """Changes when any asset does, so that browsers may keep them for a year."""
    digest = hashlib.sha256()
    for name, asset in sorted(assets().items()):
        digest.update(name.encode() + asset.body)
    return digest.hexdigest()[:12]


@cache
def _environment() -> "jinja2.Environment":
    import jinja2  # noqa: PLC0415 - 2 MB that a daemon nobody looks at has no use for

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("watchdog", _PLACE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["asset"] = lambda name: f"/assets/{name}?v={assets_version()}"
    return environment


def render(template: str, **values: Any) -> str:
    """The template's text."""
    return _environment().get_template(template).render(**values)


def error_page(*, status: int, title: str, detail: str) -> str:
    """A page for a person whose link led nowhere."""
    return render(
        "error.html", tone="off", page_title=f"{status} {title}", title=title, status=status, detail=detail, now=""
    )
