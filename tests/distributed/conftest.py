"""A session's ranks: one process that has imported everything, and forks a world for each question."""

from collections.abc import Iterator

import pytest

from .ranks import Ranks


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """`ranks(4, scenario, model="gpt2")`: what each of 4 processes answered."""
    with Ranks() as started:
        yield started
