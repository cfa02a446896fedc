"""[tool.isometry]: where it is looked for, what it may say, and what is said where it may not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import isometry as iso
from isometry import config


def written(folder: Path, text: str) -> Path:
    """A pyproject.toml in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> str:
    """What `load` says of a pyproject.toml that it refuses."""
    path = written(folder, text)
    with pytest.raises(iso.ArgumentError) as refusal:
        config.load(folder)
    assert str(path) in str(refusal.value)
    return str(refusal.value)


def test_every_key_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[tool.isometry]\nselect = ["ISO1", "ISO"]\nignore = ["ISO901", "ISO401:stem.*"]\n'
        '[tool.isometry.per-path-ignores]\n"blocks.*.gate" = ["ISO103", "ISO9"]\nhead = []\n',
    )
    assert config.load(tmp_path) == config.Config(
        select=("ISO1", "ISO"),
        ignore=("ISO901", "ISO401:stem.*", "ISO103:blocks.*.gate", "ISO9:blocks.*.gate"),
        path=path,
    )


def test_check_understands_what_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="a model to check")
    written(tmp_path, '[tool.isometry.per-path-ignores]\n"0" = ["ISO104"]\n')
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2), torch.nn.ReLU()
    )
    torch.nn.init.ones_(model[0].weight)
    torch.nn.init.zeros_(model[0].bias)
    x = torch.randn(64, 8)
    assert "ISO104" in {f.code for f in iso.check(model, x)}
    ignored = config.load(tmp_path).ignore
    assert "ISO104" not in {f.code for f in iso.check(model, x, ignore=ignored)}


def test_the_nearest_file_that_has_the_table_counts(tmp_path: Path) -> None:
    outer = written(tmp_path, '[tool.isometry]\nignore = ["ISO2"]\n')
    inner = tmp_path / "part"
    written(inner, '[project]\nname = "part"\n')  # one without the table is passed over
    deep = inner / "src" / "nets"
    deep.mkdir(parents=True)
    assert config.load(deep).path == outer
    nearer = written(inner, "[tool.isometry]\n")  # an empty table is a table
    assert config.load(deep) == config.Config(path=nearer)


def test_a_file_stands_for_its_folder(tmp_path: Path) -> None:
    path = written(tmp_path, "[tool.isometry]\n")
    module = tmp_path / "nets.py"
    module.touch()
    assert config.load(module).path == path


def test_the_working_directory_is_where_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, '[tool.isometry]\nselect = ["ISO2"]\n')
    monkeypatch.chdir(tmp_path)
    assert config.load() == config.Config(("ISO2",), (), path)


def test_nothing_found_is_nothing_set(tmp_path: Path) -> None:
    written(tmp_path, "")
    assert config.load(tmp_path) == config.Config((), (), None)


@pytest.mark.parametrize(
    ("key", "near"),
    [("ingore", "did you mean ignore?"), ("per_path_ignores", "did you mean per-path-ignores?")],
)
def test_an_unknown_key_is_named_with_its_neighbour(tmp_path: Path, key: str, near: str) -> None:
    said = refused(tmp_path, f"[tool.isometry]\n{key} = []\n")
    assert f"no key {key!r}; expected select, ignore, per-path-ignores; {near}" in said


def test_a_key_that_is_like_none_gets_no_guess(tmp_path: Path) -> None:
    assert refused(tmp_path, "[tool.isometry]\nbatch = 0\n").endswith("per-path-ignores")


@pytest.mark.parametrize(
    ("line", "received", "expected"),
    [
        ('ignore = "ISO901"', "ignore has 'ISO901'", 'such as ignore = ["ISO901"]'),
        ("select = [1]", "select has 1", '"ISO901" or "ISO2"'),
        ('select = ["iso2"]', "select has 'iso2'", '"ISO901" or "ISO2"'),
        ('select = ["ISO2:stem"]', "select has 'ISO2:stem'", '"ISO901" or "ISO2"'),
        ('ignore = ["ISO2001"]', "ignore has 'ISO2001'", '"ISO401:blocks.3.*"'),
        ('ignore = ["ISO2: "]', "ignore has 'ISO2: '", '"ISO401:blocks.3.*"'),
        ('ignore = [""]', "ignore has ''", '"ISO401:blocks.3.*"'),
        ('per-path-ignores = ["ISO2"]', "per-path-ignores has ['ISO2']", "a table of patterns"),
        ('per-path-ignores = {"" = ["ISO2"]}', "per-path-ignores has {''", "a table of patterns"),
        (
            'per-path-ignores = {"a.*" = "ISO2"}',
            "per-path-ignores.\"a.*\" has 'ISO2'",
            "a list of codes",
        ),
        ('per-path-ignores = {a = ["x"]}', "per-path-ignores.\"a\" has 'x'", '"ISO901" or "ISO2"'),
    ],
)
def test_what_was_received_and_what_was_expected(
    tmp_path: Path, line: str, received: str, expected: str
) -> None:
    said = refused(tmp_path, f"[tool.isometry]\n{line}\n")
    assert f"[tool.isometry] {received}" in said
    assert expected in said.partition("expected ")[2]


def test_a_table_that_is_none(tmp_path: Path) -> None:
    assert "tool.isometry is 3; expected a table" in refused(tmp_path, "[tool]\nisometry = 3\n")


def test_broken_toml_is_said_with_its_line(tmp_path: Path) -> None:
    said = refused(tmp_path, '[tool.isometry]\nignore = ["ISO901"\nselect = []\n')
    assert re.search(r"is not valid TOML: .*line 3", said)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe[")
    with pytest.raises(iso.ArgumentError, match="cannot be read as UTF-8 text"):
        config.load(tmp_path)


def test_isometry_does_not_load_it() -> None:
    code = "import isometry, sys; print('isometry.config' in sys.modules, 'tomllib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
