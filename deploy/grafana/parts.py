"""The pieces a Grafana dashboard is put together from: queries, panels, variables, and their places on the grid.

Only what this dashboard uses; every function returns the JSON object as Grafana 11 reads it.
"""

from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WATCH = 'watch=~"$watch"'
HALF, THIRD, FULL = 12, 8, 24


def query(expr: str, legend: str = "", **more: Any) -> dict[str, Any]:
    """One Prometheus query of a panel; `legend` may name labels as {{label}}."""
    return {"datasource": DATASOURCE, "expr": expr, "legendFormat": legend, "range": True, **more}


def instant(expr: str, legend: str = "", **more: Any) -> dict[str, Any]:
    """A query for the latest value only."""
    return query(expr, legend, instant=True, **more) | {"range": False}


def steps(*limits: tuple[float | None, str]) -> dict[str, Any]:
    """Colour thresholds: (from this value on, colour); the first limit is None, everything below the second."""
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in limits]}


def panel(kind: str, title: str, why: str, *targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A panel without its place on the grid.

    `more` takes `width` and `height` in grid cells, `unit`, `thresholds`, `mappings`, `custom` (field options of the
    panel kind), `options`, and any other key of a panel as it is.
    """
    defaults: dict[str, Any] = {
        "unit": more.pop("unit", "short"),
        "thresholds": more.pop("thresholds", steps((None, "green"))),
        "mappings": more.pop("mappings", []),
        "custom": more.pop("custom", {}),
    }
    for bound in ("min", "max"):
        if bound in more:
            defaults[bound] = more.pop(bound)
    return {
        "type": kind,
        "title": title,
        "description": why,
        "datasource": DATASOURCE,
        "gridPos": {"w": more.pop("width", HALF), "h": more.pop("height", 8)},
        "targets": [target | {"refId": chr(ord("A") + number)} for number, target in enumerate(targets)],
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "options": more.pop("options", {}),
        **more,
    }


def lines(title: str, why: str, *targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A time series; `limit=True` draws the thresholds as lines."""
    custom = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", **more.pop("custom", {})}
    if more.pop("limit", False):
        custom["thresholdsStyle"] = {"mode": "dashed"}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, why, *targets, custom=custom, options=options, **more)


def stat(title: str, why: str, target: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One large number; `text="name"` shows the series' name instead."""
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"}
    options["textMode"] = more.pop("text", "auto")
    return panel("stat", title, why, target, options=options, height=4, **{"width": 4, **more})


def states(title: str, why: str, metric: str, by: str, words: dict[str, str], **more: Any) -> dict[str, Any]:
    """A state timeline: one lane for each `by`, coloured by whichever of the one-hot series is 1."""
    terms = (
        f'{number} * (max by ({by}) ({metric}{{{WATCH}, state="{word}"}}))' for number, word in enumerate(words, 1)
    )
    known = {str(n): {"text": word, "color": color, "index": n} for n, (word, color) in enumerate(words.items(), 1)}
    return panel(
        "state-timeline",
        title,
        why,
        query(" + ".join(terms), " ".join(f"{{{{{label}}}}}" for label in by.split(", "))),
        mappings=[{"type": "value", "options": known}],
        custom={"fillOpacity": 80, "lineWidth": 0},
        options={"mergeValues": True, "showValue": "auto", "rowHeight": 0.9, "legend": {"showLegend": False}},
        **more,
    )


def quantile(q: float, metric: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram over the scrape-aware rate window."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval])))"


def variable(name: str, label: str, metric: str) -> dict[str, Any]:
    """A dashboard variable that offers the values of a label, all of them at first."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": f"label_values({metric}, {name})", "refId": f"variable-{name}"},
        "definition": f"label_values({metric}, {name})",
        "refresh": 2,  # with the time range: watches come and go
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def annotation(name: str, color: str, expr: str, title: str, **more: Any) -> dict[str, Any]:
    """Marks on every time axis."""
    common = {"enable": True, "hide": False, "iconColor": color, "step": "15s"}
    return {"name": name, "datasource": DATASOURCE, **common, "expr": expr, "titleFormat": title, **more}


def place(sections: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The panels row by row: left to right, wrapped at 24 cells, each with its number and position."""
    placed: list[dict[str, Any]] = []
    y = 0
    for title, panels in sections.items():
        placed.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": grid(0, y, FULL, 1)})
        x, y, tallest = 0, y + 1, 0
        for item in panels:
            width, height = item["gridPos"]["w"], item["gridPos"]["h"]
            if x + width > FULL:
                x, y, tallest = 0, y + tallest, 0
            placed.append(item | {"gridPos": grid(x, y, width, height)})
            x, tallest = x + width, max(tallest, height)
        y += tallest
    return [item | {"id": number} for number, item in enumerate(placed, 1)]


def grid(x: int, y: int, width: int, height: int) -> dict[str, int]:
    """A place on the dashboard, in cells of its 24 columns."""
    return {"x": x, "y": y, "w": width, "h": height}
