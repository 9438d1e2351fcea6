from django.apps import AppConfig


class BeforeConfig(AppConfig):
    name = "tests.ticks.labels.before"
    label = "ticks"
