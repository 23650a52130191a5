"""What every test shares."""

pytest_plugins = ['pytest_expected_skips', 'pytester']
