"""What `import isometry` offers: sorted, complete, documented."""

import inspect

import isometry


def test_all_is_sorted_and_without_doubles() -> None:
    assert list(isometry.__all__) == sorted(set(isometry.__all__))


def test_all_names_exist() -> None:
    missing = [name for name in isometry.__all__ if not hasattr(isometry, name)]
    assert missing == []


def test_no_public_name_is_left_out() -> None:
    """A public name is what the package binds that is neither a submodule nor private."""
    bound = {
        name
        for name, value in vars(isometry).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    assert bound - set(isometry.__all__) == set()


def test_no_submodule_stands_where_a_function_is_promised() -> None:
    shadowed = [name for name in ("plan", "check", "fans", "recipes", "initialize", "gain")
                if not callable(getattr(isometry, name, None))]  # fmt: skip
    assert shadowed == []


def test_every_public_name_has_a_docstring() -> None:
    undocumented = [
        name
        for name in isometry.__all__
        if name != "__version__" and not (inspect.getdoc(getattr(isometry, name)) or "").strip()
    ]
    assert undocumented == []


def test_every_public_method_has_a_docstring() -> None:
    undocumented = []
    for name in isometry.__all__:
        value = getattr(isometry, name)
        if not inspect.isclass(value):
            continue
        undocumented += [
            f"{name}.{attribute}"
            for attribute, member in vars(value).items()
            if not attribute.startswith("_")
            and (inspect.isfunction(member) or isinstance(member, property))
            and not (inspect.getdoc(getattr(value, attribute)) or "").strip()
        ]
    assert undocumented == []
