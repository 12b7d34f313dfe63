"""Does Rocket.Chat still call our webhook? Judged by what people wrote live and no call came for.

Rocket.Chat switches an integration off by itself, and only its admins can see that; a wrong address or a proxy has the
same effect. So its silence is what we look at.
"""

from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import connection

ENOUGH: Final = 3
"""One call may get lost; so many are no accident."""

_SILENT: Final = """
SELECT count(*), max(nudged) FROM (
    SELECT user_id, system_type, ts, stored_at FROM messages ORDER BY id DESC LIMIT 200
) latest, (SELECT max(nudged_at) AS nudged FROM rooms) calls
WHERE user_id IS NOT NULL AND system_type = '' AND stored_at > COALESCE(nudged, '-infinity')
AND stored_at BETWEEN now() - interval '1 day' AND now() - interval '2 minutes'
AND stored_at - ts BETWEEN interval '-1 minute' AND interval '1 minute'
"""


def problem() -> str:
    """A sentence with its cure; empty while calls come, nobody writes, or no webhook is wanted."""
    if not settings.NEXUS_WEBHOOK_TOKEN:
        return ""
    with connection.cursor() as cursor:
        cursor.execute(_SILENT)
        count, last = cursor.fetchone()
    return sentence(last=last) if count >= ENOUGH else ""


def sentence(*, last: datetime | None) -> str:
    since = f"since {last:%Y-%m-%d %H:%M} UTC" if last is not None else "so far"
    return (
        f"Rocket.Chat has not called the webhook {since}, though people wrote: it is switched off there, or"
        f" {settings.NEXUS_WEBHOOK_URL} can't be reached from it. Run `make bootstrap`, which says which and switches it on."
    )
