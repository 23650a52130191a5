"""Genuine exports import by themselves, and the bundle answers as the library does in torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from genuine.cases import CASES
from genuine.measure import measure

pytestmark = pytest.mark.filterwarnings('default')
QUICK = [name for name, case in CASES.items() if not case.slow]
SLOW = [name for name, case in CASES.items() if case.slow]


def check(name: str, folder: Path) -> None:
    case = CASES[name]
    result = measure(case, folder)
    assert result.told[0].startswith(f'recognised as {case.family}: '), result.told
    assert any(case.says in sentence for sentence in result.told)
    assert ('image by image' in ' '.join(result.told)) == ('image by image' in case.says)
    assert {row.batch for row in result.proof.rows} == {1, 2, 5}
    assert result.proof.found is None or result.proof.found > 10
    for batch, found in result.by_batch.items():
        if case.boxes:
            assert found.boxes >= 2 * batch, 'a comparison of nothing proves nothing'
            assert found.lonely <= 0.02 * found.boxes, found
        assert found.cells <= 0.002


@pytest.mark.parametrize('name', QUICK)
def test_answers_are_the_library_s(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('name', SLOW)
def test_slow_exports_too(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)
