"""Whoever could log in could subscribe. From here on that takes a permission: those who are there already get it."""

from django.conf import settings
from django.db import migrations

GROUP = "Subscribers"
PERMISSIONS = {"subscribe": "Can subscribe to ticks", "read": "Can read the last ticks"}


def keep_access(apps, schema_editor):
    users = apps.get_model(settings.AUTH_USER_MODEL)._default_manager.using(schema_editor.connection.alias)
    if not users.exists():
        return
    using = schema_editor.connection.alias
    # Django makes permissions only when all migrations have run.
    content_type, _ = (
        apps.get_model("contenttypes", "ContentType").objects.using(using).get_or_create(app_label="ticks", model="permission")
    )
    permissions = [
        apps.get_model("auth", "Permission")
        .objects.using(using)
        .get_or_create(content_type=content_type, codename=codename, defaults={"name": name})[0]
        for codename, name in PERMISSIONS.items()
    ]
    group, _ = apps.get_model("auth", "Group").objects.using(using).get_or_create(name=GROUP)
    group.permissions.add(*permissions)
    group.user_set.add(*users.filter(is_active=True, is_superuser=False))


class Migration(migrations.Migration):
    dependencies = [
        ("ticks", "0003_access"),
        ("contenttypes", "0002_remove_content_type_name"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [migrations.RunPython(keep_access, migrations.RunPython.noop)]
