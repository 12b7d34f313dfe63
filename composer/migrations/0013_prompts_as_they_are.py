"""A prompt is stored once, read a few times and soon deleted: to compress it takes longer than to write it."""

from django.db import migrations


def _stored(how: str) -> str:
    return "".join(f"ALTER TABLE prompts ALTER COLUMN {column} SET STORAGE {how};" for column in ("text", "sections"))


class Migration(migrations.Migration):
    dependencies = [("composer", "0012_plurals")]

    operations = [migrations.RunSQL(sql=_stored("EXTERNAL"), reverse_sql=_stored("EXTENDED"))]
