"""An agent of the host may be asked for summaries: which one, of what, as it was when."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


def _message() -> models.ForeignKey:
    return models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="gateway.message")


class Migration(migrations.Migration):
    dependencies = [("composer", "0009_summary_notes"), ("gateway", "0012_summaries_by_agents")]

    operations = [
        migrations.CreateModel(
            name="SummaryOrder",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("tier", models.CharField(choices=[("thread", "thread"), ("day", "day")], max_length=10)),
                ("message_ids", django.contrib.postgres.fields.ArrayField(models.BigIntegerField(), size=None)),
                ("fingerprint", models.CharField(max_length=64)),
                ("token_count", models.PositiveIntegerField(help_text="What the summary may have.")),
                ("first_message", _message()),
                (
                    "invocation",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="summary_order",
                        to="gateway.invocation",
                    ),
                ),
                ("last_message", _message()),
            ],
            options={
                "db_table": "summary_orders",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tier", "first_message", "last_message"), name="summary_order_once"
                    )
                ],
            },
        ),
    ]
