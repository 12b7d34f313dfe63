from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gateway", "0008_steers")]

    operations = [
        migrations.AddField(
            "agent",
            "token_percent",
            models.PositiveSmallIntegerField(
                default=100,
                db_default=100,
                help_text="What the agent's model counts for 100 tokens of our estimate: 25 to 400.",
            ),
        ),
        migrations.AddConstraint(
            "agent",
            models.CheckConstraint(
                condition=models.Q(token_percent__gte=25, token_percent__lte=400), name="agent_token_percent_range"
            ),
        ),
    ]
