from django.db import migrations, models

from tests.ticks.labels.shop.ticks.migrations import ID


class Migration(migrations.Migration):
    dependencies = [("ticks", "0001_initial")]
    operations = [
        migrations.CreateModel("AuditEntry", [ID, ("at", models.DateTimeField(db_index=True))]),
    ]
