"""What of a tool server was approved tool by tool, and an index for "the invocations of the last hours"."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gateway", "0012_summaries_by_agents")]

    operations = [
        migrations.AddField("mcpserver", "approved_tools", models.JSONField(blank=True, default=dict, db_default={})),
        migrations.AddIndex("invocation", models.Index(fields=["opened_at"], name="invocation_recent")),
    ]
