from django.db import migrations, models

from ticks.relabel import Relabelled


class Migration(Relabelled):

    dependencies = [
        ('marketmux_ticks', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='recordedtick',
            name='extra',
            field=models.TextField(blank=True),
        ),
        # Of ticks that were recorded before, the place is not known: no tick has 0, and no stream an empty epoch.
        migrations.AddField(
            model_name='recordedtick',
            name='seq',
            field=models.BigIntegerField(default=0),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='recordedtick',
            name='epoch',
            field=models.CharField(default='', max_length=20),
            preserve_default=False,
        ),
    ]
