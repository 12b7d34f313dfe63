"""What the dashboard shows: the figures of gateway/stats.py, with bars for its plots."""

from typing import Any, Final

from django.http import HttpRequest

from gateway import parts, stats
from gateway.models import State

PLOT_HEIGHT: Final = 120
BAR: Final = 24


def context(_request: HttpRequest) -> dict[str, Any]:
    found = stats.overview()
    return {
        "figures": found,
        "is_new": not any(day["invocations"] for day in found["days"]),
        "states": [(state.value, found["invocations"].get(state.value, 0)) for state in State],
        "parts": parts.look(),
        "window_days": stats.WINDOW_DAYS,
        "recent_hours": stats.RECENT_HOURS,
        "plots": [
            _plot(found["days"], "invocations", "Invocations a day"),
            _plot(found["days"], "token_count", "Tokens a day"),
            _plot(found["days"], "cost_usd", "Cost a day (USD)"),
        ],
        "spent": [
            ("Agents", "gateway_agent", _shares(found["by_agent"])),
            ("Rooms", "gateway_room", _shares(found["by_room"])),
        ],
    }


def _shares(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With what the row spent of what the first one did, in percent."""
    top = max((row["token_count"] for row in rows), default=0) or 1
    return [{**row, "share": round(100 * row["token_count"] / top)} for row in rows]


def _plot(days: list[dict[str, Any]], field: str, title: str) -> dict[str, Any]:
    """Bars of one figure: x, y and height in the units of the drawing, and the words a reader hears."""
    top = max((day[field] for day in days), default=0) or 1
    bars = []
    for index, day in enumerate(days):
        height = round(day[field] / top * PLOT_HEIGHT, 1)
        bars.append(
            {
                "x": index * BAR + 2,
                "y": PLOT_HEIGHT - height,
                "height": height,
                "text": f"{day['day']}: {_number(day[field])}",
            }
        )
    total = sum(day[field] for day in days)
    return {"title": title, "bars": bars, "width": len(days) * BAR, "height": PLOT_HEIGHT, "total": _number(total)}


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
