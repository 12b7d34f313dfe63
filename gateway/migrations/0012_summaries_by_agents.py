"""A row may ask for a summary that no question asked for and no room hears of."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("gateway", "0011_ended_index")]

    operations = [
        migrations.AddField(
            "invocation",
            "purpose",
            models.CharField(
                choices=[("answer", "Answer"), ("summary", "Summary")],
                db_default="answer",
                default="answer",
                editable=False,
                max_length=10,
            ),
        ),
        migrations.RemoveConstraint("invocation", "invocation_once"),
        migrations.AddConstraint(
            "invocation",
            models.UniqueConstraint(fields=["message", "agent", "purpose", "attempt"], name="invocation_once"),
        ),
        migrations.AddConstraint(
            "invocation",
            models.CheckConstraint(condition=Q(purpose__in=["answer", "summary"]), name="invocation_purpose_known"),
        ),
        migrations.AddConstraint(
            "invocation",
            models.CheckConstraint(
                condition=Q(purpose="answer") | Q(reply_settled_at__isnull=False, serial_room__isnull=True),
                name="invocation_summary_is_silent",
            ),
        ),
    ]
