"""The audit log is append-only, for whoever asks the database: triggers refuse what changes or deletes an entry.

SQLite drops a table's triggers when it makes the table anew, which it does to alter a column: a later migration of this
table has to call ``add_triggers`` again.
"""

from django.db import migrations, models

from ticks.relabel import Relabelled

TABLE = "marketmux_ticks_auditentry"
REFUSAL = "The audit log is append-only."


def added(table):
    """What adds the triggers, by the kind of database."""
    sqlite = [
        *(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
            for verb in ("UPDATE", "DELETE")
        ),
        # INSERT OR REPLACE deletes what is there, and asks no trigger of deletions.
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    ]
    postgresql = [
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'integrity_constraint_violation'; END $$",
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()",
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()",
    ]
    return {"sqlite": sqlite, "postgresql": postgresql}


def dropped(table):
    """What drops them."""
    return {
        "sqlite": [f"DROP TRIGGER IF EXISTS {table}_no_{what}" for what in ("update", "delete", "replace")],
        "postgresql": [
            f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}",
            f"DROP TRIGGER IF EXISTS {table}_no_truncate ON {table}",
            f"DROP FUNCTION IF EXISTS {table}_refuse()",
        ],
    }


def add_triggers(apps, schema_editor, table=TABLE):
    for statement in added(table).get(schema_editor.connection.vendor, []):
        schema_editor.execute(statement, params=None)


def drop_triggers(apps, schema_editor, table=TABLE):
    for statement in dropped(table).get(schema_editor.connection.vendor, []):
        schema_editor.execute(statement, params=None)


class Migration(Relabelled):
    dependencies = [("marketmux_ticks", "0004_users_keep_their_access")]

    operations = [
        migrations.CreateModel(
            name="Connection",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ],
            options={"managed": False, "default_permissions": ("view", "change")},
        ),
        migrations.AlterModelOptions(
            name="auditentry",
            options={
                "default_permissions": ("view",),
                "ordering": ["-pk"],
                "verbose_name_plural": "audit entries",
            },
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["action", "subject"], name="marketmux_audit_action_subject"),
        ),
        migrations.RunPython(add_triggers, drop_triggers),
    ]
