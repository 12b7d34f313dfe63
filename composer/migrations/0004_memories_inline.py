"""Vectors of memories stand in the row. Out of line, an exact search inside a room fetched each from the TOAST table,
and the planner, which does not see that price, chose it even where the HNSW index is far faster."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("composer", "0003_texts_change")]

    operations = [
        migrations.RunSQL(
            sql=[
                "ALTER TABLE memories ALTER COLUMN vector SET STORAGE PLAIN",
                # Else Postgres would move the payload out instead, to get the row below 2 kB.
                "ALTER TABLE memories SET (toast_tuple_target = 8160)",
                # Nearly all rows are of the present embedder; without statistics Postgres takes that for one in 200.
                "CREATE STATISTICS memories_embedder ON (payload->>'embedder') FROM memories",
            ],
            reverse_sql=[
                "DROP STATISTICS memories_embedder",
                "ALTER TABLE memories ALTER COLUMN vector SET STORAGE EXTERNAL",
                "ALTER TABLE memories RESET (toast_tuple_target)",
            ],
        )
    ]
