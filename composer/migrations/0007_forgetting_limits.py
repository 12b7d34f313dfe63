"""A clock that is wrong keeps nothing from being forgotten: the limit is a message's number, too."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("composer", "0006_landmark_rooms")]

    operations = [migrations.AddField("forgetting", "last_message_id", models.BigIntegerField(default=0))]
