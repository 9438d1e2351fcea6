from django.db import migrations, models

from tests.ticks.labels.shop.ticks.migrations import ID


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Instrument", [ID, ("symbol", models.CharField(max_length=8, unique=True))]),
    ]
