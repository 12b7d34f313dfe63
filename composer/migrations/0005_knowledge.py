"""Landmarks know their room, how they were found and who took them away; learned facts know Mem0's row; forgetting."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

ROOMS = """
CREATE FUNCTION nexus_landmark_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.room_id := (SELECT room_id FROM messages WHERE id = NEW.message_id);
    RETURN NEW;
END $$;
CREATE TRIGGER landmark_room BEFORE INSERT OR UPDATE OF message_id, room_id ON landmarks FOR EACH ROW
    EXECUTE FUNCTION nexus_landmark_room();
UPDATE landmarks SET room_id = NULL;
"""
NO_ROOMS = """
DROP TRIGGER landmark_room ON landmarks;
DROP FUNCTION nexus_landmark_room();
"""

LEARNED = """
CREATE FUNCTION nexus_fact_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM memories WHERE id = OLD.memory_id;
    RETURN NULL;
END $$;
CREATE TRIGGER fact_gone AFTER DELETE ON facts FOR EACH ROW WHEN (OLD.memory_id IS NOT NULL)
    EXECUTE FUNCTION nexus_fact_gone();
CREATE INDEX facts_source ON facts (source_message_id) WHERE source_message_id IS NOT NULL;
"""
UNLEARNED = """
DROP TRIGGER fact_gone ON facts;
DROP FUNCTION nexus_fact_gone();
DROP INDEX facts_source;
"""

TEXTS = """
CREATE OR REPLACE FUNCTION nexus_message_text_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM summaries s USING messages first, messages last
        WHERE s.room_id = NEW.room_id AND first.id = s.first_message_id AND last.id = s.last_message_id
          AND (first.ts, first.id) <= (NEW.ts, NEW.id) AND (last.ts, last.id) >= (NEW.ts, NEW.id)
          AND CASE s.tier WHEN 'day' THEN NEW.thread = ''
                          WHEN 'thread' THEN s.thread IN (NEW.thread, NEW.rc_id) ELSE true END;
    DELETE FROM message_vectors WHERE message_id = NEW.id;
    DELETE FROM facts WHERE source_message_id = NEW.id AND (memory_id IS NOT NULL OR NEW.deleted_at IS NOT NULL);
    IF NEW.deleted_at IS NOT NULL THEN
        UPDATE landmarks SET superseded_by_id = NULL
            WHERE superseded_by_id IN (SELECT id FROM landmarks WHERE message_id = NEW.id);
        DELETE FROM landmarks WHERE message_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("composer", "0004_memories_inline"), ("gateway", "0001_initial")]

    operations = [
        migrations.AddField(
            "landmark",
            "room",
            models.ForeignKey(
                null=True,
                editable=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="gateway.room",
            ),
        ),
        migrations.AddField(
            "landmark",
            "found_by",
            models.CharField(
                choices=[("person", "person"), ("rule", "rule"), ("chat", "chat"), ("agent", "agent")],
                default="person",
                max_length=10,
            ),
        ),
        migrations.AddField(
            "landmark",
            "unpinned_by",
            models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="gateway.user",
            ),
        ),
        migrations.AddField(
            "fact",
            "memory_id",
            models.UUIDField(blank=True, null=True, unique=True, help_text="Learned by Mem0: its row."),
        ),
        migrations.CreateModel(
            name="Forgetting",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("asked_at", models.DateTimeField()),
                ("done_at", models.DateTimeField(blank=True, null=True)),
                ("message_count", models.PositiveIntegerField(default=0)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="gateway.user"
                    ),
                ),
            ],
            options={
                "db_table": "forgettings",
                "indexes": [
                    models.Index(condition=models.Q(("done_at__isnull", True)), fields=["id"], name="forgetting_to_do")
                ],
                "constraints": [models.UniqueConstraint(fields=("user", "asked_at"), name="forgetting_once")],
            },
        ),
        migrations.RunSQL(sql=LEARNED, reverse_sql=UNLEARNED),
        migrations.RunSQL(sql=TEXTS, reverse_sql=migrations.RunSQL.noop),
        # Last: Postgres alters no table that rows have just been written to.
        migrations.RunSQL(sql=ROOMS, reverse_sql=NO_ROOMS),
    ]
