"""The table of problems has every error that the API can raise."""

from __future__ import annotations

from rest_framework.exceptions import APIException

from ticks import errors
from ticks.problems import PROBLEMS

RAISED = {
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, APIException) and "default_code" in vars(kind)
}


def test_every_error_is_in_the_table_with_its_status() -> None:
    assert RAISED
    wrong = {
        kind.__name__
        for kind in RAISED
        if kind.default_code not in PROBLEMS or PROBLEMS[kind.default_code].status != kind.status_code
    }
    assert wrong == set()
