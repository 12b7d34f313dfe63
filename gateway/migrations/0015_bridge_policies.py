"""What bridges tell of their owners' rules."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gateway", "0014_plurals")]

    operations = [
        migrations.AddField(
            "bridge",
            "policies",
            models.JSONField(
                blank=True,
                default=dict,
                db_default={},
                help_text="By agent, how strict its owner's rules are, as the bridge told.",
            ),
        ),
    ]
