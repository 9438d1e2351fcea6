"""Symbols have 64 characters and not 32. SQLite, which bounds no column, is spared the copy of its tables."""

from typing import Any

from django.db import migrations, models

import ticks.models
from ticks.relabel import Relabelled


class Widen(migrations.AlterField):
    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)


class Migration(Relabelled):
    dependencies = [("marketmux_ticks", "0005_append_only")]

    operations = [
        Widen(
            model_name="instrument",
            name="symbol",
            field=models.CharField(max_length=64, unique=True, validators=[ticks.models.validate_symbol]),
        ),
        Widen(model_name="recordedtick", name="symbol", field=models.CharField(max_length=64)),
    ]
