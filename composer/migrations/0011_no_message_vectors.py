"""A message's vector stands in `memories`, where its scope is checked; nothing ever wrote or read a second one."""

from django.db import migrations

_TEXTS = """
CREATE OR REPLACE FUNCTION nexus_message_text_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM summaries s USING messages first, messages last
        WHERE s.room_id = NEW.room_id AND first.id = s.first_message_id AND last.id = s.last_message_id
          AND (first.ts, first.id) <= (NEW.ts, NEW.id) AND (last.ts, last.id) >= (NEW.ts, NEW.id)
          AND CASE s.tier WHEN 'day' THEN NEW.thread = ''
                          WHEN 'thread' THEN s.thread IN (NEW.thread, NEW.rc_id) ELSE true END;
    {vectors}DELETE FROM facts WHERE source_message_id = NEW.id AND (memory_id IS NOT NULL OR NEW.deleted_at IS NOT NULL);
    IF NEW.deleted_at IS NOT NULL THEN
        UPDATE landmarks SET superseded_by_id = NULL
            WHERE superseded_by_id IN (SELECT id FROM landmarks WHERE message_id = NEW.id);
        DELETE FROM landmarks WHERE message_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
"""
_VECTORS = "DELETE FROM message_vectors WHERE message_id = NEW.id;\n    "


class Migration(migrations.Migration):
    dependencies = [("composer", "0010_summary_orders")]

    operations = [
        migrations.RunSQL(sql=_TEXTS.replace("{vectors}", ""), reverse_sql=_TEXTS.replace("{vectors}", _VECTORS)),
        migrations.DeleteModel("MessageVector"),
    ]
