"""Every landmark has its room now: the column says so, and the live ones of a room are found by index."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("composer", "0005_knowledge")]

    operations = [
        migrations.AlterField(
            "landmark",
            "room",
            models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="gateway.room"
            ),
        ),
        migrations.AddIndex(
            "landmark",
            models.Index(
                condition=models.Q(("unpinned_at__isnull", True)),
                fields=["room", "-created_at", "-id"],
                name="landmark_live",
            ),
        ),
    ]
