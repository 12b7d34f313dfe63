"""When a message's text changes or goes, nothing made from the old text may stay, whoever wrote the row."""

from django.db import migrations

FORGET = """
CREATE FUNCTION nexus_message_text_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM summaries s USING messages first, messages last
        WHERE s.room_id = NEW.room_id AND first.id = s.first_message_id AND last.id = s.last_message_id
          AND (first.ts, first.id) <= (NEW.ts, NEW.id) AND (last.ts, last.id) >= (NEW.ts, NEW.id);
    DELETE FROM message_vectors WHERE message_id = NEW.id;
    IF NEW.deleted_at IS NOT NULL THEN
        DELETE FROM facts WHERE source_message_id = NEW.id;
        UPDATE landmarks SET superseded_by_id = NULL
            WHERE superseded_by_id IN (SELECT id FROM landmarks WHERE message_id = NEW.id);
        DELETE FROM landmarks WHERE message_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER message_text_changed AFTER UPDATE OF text, deleted_at ON messages FOR EACH ROW
    WHEN (OLD.text IS DISTINCT FROM NEW.text OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at)
    EXECUTE FUNCTION nexus_message_text_changed();

CREATE FUNCTION nexus_message_to_remember() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.remembered_at := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER message_to_remember BEFORE UPDATE OF text, deleted_at ON messages FOR EACH ROW
    WHEN (OLD.text IS DISTINCT FROM NEW.text OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at)
    EXECUTE FUNCTION nexus_message_to_remember();
"""

REMEMBER = """
DROP TRIGGER message_text_changed ON messages;
DROP TRIGGER message_to_remember ON messages;
DROP FUNCTION nexus_message_text_changed();
DROP FUNCTION nexus_message_to_remember();
"""


class Migration(migrations.Migration):
    dependencies = [("composer", "0002_memory_indexes"), ("gateway", "0002_guards")]

    operations = [migrations.RunSQL(sql=FORGET, reverse_sql=REMEMBER)]
