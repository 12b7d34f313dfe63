"""Triggers: invocations move only along known edges, the audit log only grows."""

from django.db import migrations

# A frozen copy of gateway/invocations.py EDGES; tests/server/test_invocations.py compares the trigger with the code.
EDGES = (
    ("queued", ("waiting", "composing", "failed", "cancelled", "expired")),
    ("waiting", ("queued", "failed", "cancelled", "expired")),
    ("composing", ("queued", "composed", "failed", "cancelled", "expired")),
    ("composed", ("waiting", "offered", "failed", "cancelled", "expired")),
    ("offered", ("queued", "running", "refused", "failed", "cancelled", "interrupted", "expired")),
    ("running", ("done", "failed", "cancelled", "interrupted")),
)

_pairs = ", ".join(f"('{source}', '{target}')" for source, targets in EDGES for target in targets)

EDGE_TRIGGER = f"""
CREATE FUNCTION nexus_invocation_edge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'queued' THEN
            RAISE EXCEPTION 'an invocation starts queued, not %', NEW.state USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN ({_pairs}) THEN
        RAISE EXCEPTION 'invocation %: no edge % -> %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    ELSIF NEW.fence < OLD.fence OR NEW.wait_until <> OLD.wait_until THEN
        RAISE EXCEPTION 'invocation %: fence never falls, wait_until never moves', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invocation_edge_insert BEFORE INSERT ON invocations
    FOR EACH ROW EXECUTE FUNCTION nexus_invocation_edge();
CREATE TRIGGER invocation_edge_update BEFORE UPDATE OF state, fence, wait_until ON invocations
    FOR EACH ROW EXECUTE FUNCTION nexus_invocation_edge();
"""

AUDIT_TRIGGER = """
CREATE FUNCTION nexus_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_append_only();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_append_only();
CREATE TRIGGER audit_seals_append_only BEFORE UPDATE OR DELETE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_append_only();
CREATE TRIGGER audit_seals_no_truncate BEFORE TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0001_initial")]

    operations = [
        migrations.RunSQL(
            sql=EDGE_TRIGGER,
            reverse_sql="DROP TRIGGER invocation_edge_insert ON invocations;"
            " DROP TRIGGER invocation_edge_update ON invocations; DROP FUNCTION nexus_invocation_edge();",
        ),
        migrations.RunSQL(
            sql=AUDIT_TRIGGER,
            reverse_sql="DROP FUNCTION nexus_append_only() CASCADE;",
        ),
    ]
