"""How a database comes along from the time when the label of this app was ``ticks``, which other projects may use.

Migrations keep their names under the label of today. The first one looks whether the database had them under the old
label, by their names and by the columns of the tables: an app of somebody else may have that label, and a migration
``0001_initial``. If so, tables, indexes, triggers, content types (on which permissions and the admin's log stand) and
the record of migrations get the names that a new database has. The migrations that are recorded then change nothing but
the state that Django keeps; those that the database did not have yet are carried out.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final

from django.contrib.contenttypes.models import ContentType
from django.db import migrations, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.utils import names_digest
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

__all__ = ["Relabelled", "adopt"]

_OLD: Final = "ticks"
_NEW: Final = "marketmux_ticks"
_NAMES: Final = (
    "0001_initial",
    "0002_recorded_extra_and_place",
    "0003_access",
    "0004_users_keep_their_access",
    "0005_append_only",
    "0006_longer_symbols",
)
"""The migrations that there were under the old label, in their order."""
_TRIGGERS: Final = _NAMES[4]


class Relabelled(migrations.Migration):
    """A migration that a database may have had under the old label."""

    def apply(
        self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor, collect_sql: bool = False
    ) -> ProjectState:
        if not collect_sql:
            if self.name == _NAMES[0]:
                adopt(schema_editor)
            recorder = MigrationRecorder(schema_editor.connection)
            # Who applies a migration records it, so the record that there is goes, in the same transaction.
            if recorder.migration_qs.filter(app=_NEW, name=self.name).delete()[0]:
                return self.mutate_state(project_state, preserve=False)
        return super().apply(project_state, schema_editor, collect_sql)


def adopt(editor: BaseDatabaseSchemaEditor) -> None:
    """Gives what the database has under the old label the names of today; does nothing if that is not ours."""
    names = _recorded(editor.connection)
    if not names:
        return
    kept = _models(names[-1])
    if not _are_there(editor.connection, kept):
        return
    append_only: Any = import_module(f"ticks.migrations.{_TRIGGERS}")
    if _TRIGGERS in names:
        append_only.drop_triggers(None, editor, _old_table(_model(kept, "auditentry")))
    for model in kept:
        if model._meta.managed:
            editor.alter_db_table(model, _old_table(model), model._meta.db_table)
            _rename_indexes(editor, model)
    if _TRIGGERS in names:
        append_only.add_triggers(None, editor)
    _rename_content_types(editor.connection, [str(model._meta.model_name) for model in kept])
    MigrationRecorder(editor.connection).migration_qs.filter(app=_OLD, name__in=names).update(app=_NEW)


def _recorded(connection: BaseDatabaseWrapper) -> list[str]:
    """Which of our migrations are recorded under the old label, up to the first that is not."""
    applied = MigrationRecorder(connection).applied_migrations()
    count = next((n for n, name in enumerate(_NAMES) if (_OLD, name) not in applied), len(_NAMES))
    return list(_NAMES[:count])


def _models(name: str) -> list[type[models.Model]]:
    """The models as they were after that migration."""
    state = MigrationLoader(None).project_state((_NEW, name))
    return list(state.apps.get_app_config(_NEW).get_models())


def _model(among: Iterable[type[models.Model]], name: str) -> type[models.Model]:
    return next(model for model in among if model._meta.model_name == name)


def _old_table(model: type[models.Model]) -> str:
    return f"{_OLD}_{model._meta.model_name}"


def _are_there(connection: BaseDatabaseWrapper, kept: Iterable[type[models.Model]]) -> bool:
    """Whether all tables of the old label are there, with all our columns."""
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        for model in kept:
            table = _old_table(model)
            if not model._meta.managed:
                continue
            if table not in tables:
                return False
            columns = {column.name for column in connection.introspection.get_table_description(cursor, table)}
            if not columns >= {field.column for field in model._meta.concrete_fields}:
                return False
    return True


def _rename_indexes(editor: BaseDatabaseSchemaEditor, model: type[models.Model]) -> None:
    """The names of indexes count in the whole database: a table of another app would make some of the same name."""
    table, old_table = model._meta.db_table, _old_table(model)
    with editor.connection.cursor() as cursor:
        found = editor.connection.introspection.get_constraints(cursor, table)
    for name, about in found.items():
        if not about["index"] or about["unique"] or about["primary_key"] or about["foreign_key"]:
            continue
        columns: list[str] = about["columns"]
        if name.startswith(f"{old_table}_"):  # as Django names what has no name of its own
            ending = "_like" if name.endswith("_like") else ""
            new = f"{table}_{'_'.join(columns)}_{names_digest(table, *columns, length=8)}{ending}"
        else:
            new = f"marketmux_{name}"
        editor.rename_index(model, models.Index(fields=columns, name=name), models.Index(fields=columns, name=new))


def _rename_content_types(connection: BaseDatabaseWrapper, names: list[str]) -> None:
    if ContentType._meta.db_table not in connection.introspection.table_names():
        return
    types = ContentType.objects.using(connection.alias)
    old = types.filter(app_label=_OLD, model__in=names)
    # Made in passing by code of today that ran before the database was migrated; nothing stands on them.
    types.filter(app_label=_NEW, model__in=list(old.values_list("model", flat=True))).delete()
    old.update(app_label=_NEW)
    ContentType.objects.clear_cache()
