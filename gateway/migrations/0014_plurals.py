"""What the admin site calls them."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("gateway", "0013_server_tools_and_recent_rows")]

    operations = [
        migrations.AlterModelOptions("auditentry", {"verbose_name_plural": "audit entries"}),
        migrations.AlterModelOptions("mcpserver", {"verbose_name": "MCP server"}),
    ]
