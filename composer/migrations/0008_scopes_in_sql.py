"""Which scope a room's talk belongs to, said once in SQL; what is still to be learned, and what was, found by index."""

from django.db import migrations

FORWARD = [
    # A direct chat of one user and one agent has a scope of its own; every other room is its own scope.
    """
    CREATE FUNCTION nexus_scope_of_room(wanted bigint) RETURNS text LANGUAGE sql STABLE AS $$
        SELECT CASE WHEN direct.users = 1 AND direct.agents = 1
                    THEN 'dm:' || direct.one_user || ':' || direct.one_agent ELSE 'room:' || r.rid END
        FROM rooms r LEFT JOIN LATERAL (
            SELECT count(u.id) AS users, count(a.id) AS agents,
                   max(u.rocketchat_id) AS one_user, max(a.slug) AS one_agent
            FROM room_members m LEFT JOIN users u ON u.id = m.user_id LEFT JOIN agents a ON a.id = m.agent_id
            WHERE m.room_id = r.id
        ) AS direct ON r.kind = 'dm'
        WHERE r.id = wanted
    $$
    """,
    "CREATE INDEX memories_to_learn ON memories (id) WHERE payload->>'learn' IS NOT NULL",
    "CREATE INDEX memories_learned ON memories (id) WHERE payload->>'fact' IS NOT NULL",
]
BACK = ["DROP INDEX memories_learned", "DROP INDEX memories_to_learn", "DROP FUNCTION nexus_scope_of_room(bigint)"]


class Migration(migrations.Migration):
    dependencies = [("composer", "0007_forgetting_limits")]

    operations = [migrations.RunSQL(sql=FORWARD, reverse_sql=BACK)]
