"""A summary says why the summariser that was wanted did not make it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("composer", "0008_scopes_in_sql")]

    operations = [
        migrations.AddField(
            "summary",
            "note",
            models.CharField(blank=True, help_text="Why summarisers before this one could not.", max_length=300),
            preserve_default=True,
        )
    ]
