from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gateway", "0009_token_percent")]

    operations = [
        migrations.AddField(
            "room",
            "nudged_at",
            models.DateTimeField(null=True, blank=True, help_text="The webhook's last call for it."),
        ),
    ]
