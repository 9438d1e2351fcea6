from django.db import models


class Instrument(models.Model):  # noqa: DJ008
    symbol = models.CharField(max_length=8, unique=True)


class AuditEntry(models.Model):  # noqa: DJ008
    at = models.DateTimeField(db_index=True)
