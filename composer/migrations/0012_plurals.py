"""What the admin site calls many of them."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("composer", "0011_no_message_vectors")]

    operations = [
        migrations.AlterModelOptions("memory", {"verbose_name_plural": "memories"}),
        migrations.AlterModelOptions("summary", {"verbose_name_plural": "summaries"}),
    ]
