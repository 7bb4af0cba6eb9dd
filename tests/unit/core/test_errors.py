"""The error tree is the one that is drawn."""

import inspect
import re

from core import errors


def test_the_drawing_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^ {4}([│ ]*(?:[├└]── )?)([A-Z][A-Za-z]+)(?:  .*)?$", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = path[depth - 1] if depth else "Exception"
    classes = inspect.getmembers(
        errors, lambda value: inspect.isclass(value) and issubclass(value, Exception)
    )
    assert drawn == {name: made.__bases__[0].__name__ for name, made in classes}


def test_each_says_what_it_means() -> None:
    for _, error in inspect.getmembers(errors, inspect.isclass):
        assert error.__doc__
