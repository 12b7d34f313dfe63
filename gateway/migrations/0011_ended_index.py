from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """What has ended lately is counted for /metrics. Built beside running work, so not in a transaction."""

    atomic = False
    dependencies = [("gateway", "0010_rooms_nudged_at")]

    operations = [
        AddIndexConcurrently(
            "invocation",
            models.Index(fields=["ended_at"], name="invocation_ended", condition=models.Q(ended_at__isnull=False)),
        ),
    ]
