"""Indexes that Mem0 does not make itself: room, user, message id once, full text."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("composer", "0001_initial")]

    operations = [
        migrations.RunSQL(
            sql=[
                "CREATE INDEX memories_run_id ON memories ((payload->>'run_id'))",
                "CREATE INDEX memories_user_id ON memories ((payload->>'user_id'))",
                # One memory per message and scope: a task that arrives twice remembers once.
                (
                    "CREATE UNIQUE INDEX memories_message_once ON memories ((payload->>'msg'), (payload->>'run_id'))"
                    " WHERE payload->>'msg' IS NOT NULL AND payload->>'fact' IS NULL"
                ),
                (
                    "CREATE INDEX memories_text_lemmatized_idx ON memories"
                    " USING gin (to_tsvector('simple', payload->>'text_lemmatized'))"
                ),
            ],
            reverse_sql=[
                "DROP INDEX memories_run_id",
                "DROP INDEX memories_user_id",
                "DROP INDEX memories_message_once",
                "DROP INDEX memories_text_lemmatized_idx",
            ],
        )
    ]
