"""Which messages changed since somebody looked: each carries the number of the transaction that wrote its words.

Messages from before have none; whoever looks for the first time reads those anyway.
"""

from django.db import migrations, models

# Without a default at first: one that has to be computed would write every row of the table anew.
ADD = """
ALTER TABLE messages ADD COLUMN changed_xid bigint NULL;
ALTER TABLE messages ALTER COLUMN changed_xid SET DEFAULT (pg_current_xact_id()::text::bigint);
"""

CHANGED = """
CREATE FUNCTION nexus_message_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id()::text::bigint;
    RETURN NEW;
END $$;
CREATE TRIGGER message_changed BEFORE UPDATE OF text, deleted_at, system_type ON messages FOR EACH ROW
    WHEN (OLD.text IS DISTINCT FROM NEW.text OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at
          OR OLD.system_type IS DISTINCT FROM NEW.system_type)
    EXECUTE FUNCTION nexus_message_changed();
"""
UNCHANGED = """
DROP TRIGGER message_changed ON messages;
DROP FUNCTION nexus_message_changed();
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0005_files_both_ways")]

    operations = [
        migrations.RunSQL(
            sql=ADD,
            reverse_sql="ALTER TABLE messages DROP COLUMN changed_xid;",
            state_operations=[
                migrations.AddField(
                    "message",
                    "changed_xid",
                    models.BigIntegerField(
                        null=True,
                        editable=False,
                        db_default=models.Func(
                            template="pg_current_xact_id()::text::bigint", output_field=models.BigIntegerField()
                        ),
                        help_text="Transaction that wrote the words, a trigger sees to it: what a composer looks for.",
                    ),
                ),
            ],
        ),
        migrations.AddIndex("message", models.Index(fields=["room", "changed_xid"], name="message_changes")),
        migrations.RunSQL(sql=CHANGED, reverse_sql=UNCHANGED),
    ]
