"""The list of expected skips: what it covers, and that anything else fails a CI run."""

from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'

SKIPS = """
    import pytest

    def test_runs():
        pass

    @pytest.mark.skip(reason='no GPU: nvidia-smi is missing')
    @pytest.mark.parametrize('size', [640])
    def test_on_gpu(size):
        pass

    @pytest.mark.xfail(reason='known', strict=True)
    def test_known_failure():
        raise RuntimeError
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Make an empty project that uses the plugin, outside CI."""
    monkeypatch.delenv('CI', raising=False)
    # A sourced distribution's own pytest plugins do not load in the pytest used here.
    monkeypatch.setenv('PYTEST_DISABLE_PLUGIN_AUTOLOAD', '1')
    pytester.syspathinsert(TOOLS)
    pytester.makeini('[pytest]\naddopts = -p pytest_expected_skips -p no:cacheprovider')
    pytester.mkdir('test')
    return pytester


def expect(project: pytest.Pytester, *lines: str) -> None:
    project.path.joinpath('test', 'expected_skips.txt').write_text('\n'.join(lines) + '\n')


def test_unlisted_skip_is_reported(project: pytest.Pytester) -> None:
    project.makepyfile(test_it=SKIPS)
    result = project.runpytest()
    result.stdout.fnmatch_lines([
        '*unexpected skips*',
        'test_it.py::test_on_gpu[[]640]: no GPU: nvidia-smi is missing',
        'Make them run here, or say in test/expected_skips.txt why they cannot.',
    ])
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize('value, status', [
    pytest.param('true', pytest.ExitCode.TESTS_FAILED, id='CI=true'),
    pytest.param('1', pytest.ExitCode.TESTS_FAILED, id='CI=1'),
    pytest.param('false', pytest.ExitCode.OK, id='CI=false'),
    pytest.param('', pytest.ExitCode.OK, id='CI empty'),
])
def test_unlisted_skip_fails_in_ci_only(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, value: str,
    status: pytest.ExitCode,
) -> None:
    project.makepyfile(test_it=SKIPS)
    monkeypatch.setenv('CI', value)
    assert project.runpytest().ret == status


@pytest.mark.parametrize('line, status', [
    pytest.param('test_it.py::test_on_gpu[640] | no GPU* | lent rarely', pytest.ExitCode.OK,
                 id='exact id with brackets'),
    pytest.param('test_it.py::* | * | lent rarely', pytest.ExitCode.OK, id='wildcards'),
    pytest.param('test_it.py::test_on_gpu* | no network* | offline',
                 pytest.ExitCode.TESTS_FAILED, id='skipped for another reason'),
    pytest.param('test_other.py::* | no GPU* | lent rarely', pytest.ExitCode.TESTS_FAILED,
                 id='another test'),
])
def test_list_covers_id_and_reason(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, line: str,
    status: pytest.ExitCode,
) -> None:
    project.makepyfile(test_it=SKIPS)
    expect(project, '# a comment', '', line)
    monkeypatch.setenv('CI', 'true')
    assert project.runpytest().ret == status


@pytest.mark.parametrize('listed, status', [
    pytest.param(False, pytest.ExitCode.TESTS_FAILED, id='unlisted'),
    pytest.param(True, pytest.ExitCode.NO_TESTS_COLLECTED, id='listed'),
])
def test_module_that_skips_itself_counts(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, listed: bool,
    status: pytest.ExitCode,
) -> None:
    project.makepyfile(test_it="""
        import pytest
        pytest.importorskip('no_such_module')
    """)
    if listed:
        expect(project, "test_it.py | could not import 'no_such_module'* | nowhere to be had")
    monkeypatch.setenv('CI', 'true')
    assert project.runpytest().ret == status


def test_failure_stays_a_failure(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch,
) -> None:
    project.makepyfile(test_it=SKIPS + '\n    def test_fails():\n        assert False\n')
    monkeypatch.setenv('CI', 'true')
    result = project.runpytest()
    result.assert_outcomes(passed=1, skipped=1, failed=1, xfailed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_incomplete_line_is_refused(project: pytest.Pytester) -> None:
    project.makepyfile(test_it=SKIPS)
    expect(project, 'test_it.py::* | no GPU')
    result = project.runpytest()
    result.stderr.fnmatch_lines(['*expected_skips.txt:1: expected "test ids | reason | why"*'])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
