"""Which databases a test runs with; without one of these marks, tests with the fixture `config` run with both."""

import pytest

ONLY_SQLITE = pytest.mark.parametrize("config", ["sqlite"], indirect=True)
ONLY_POSTGRES = pytest.mark.parametrize("config", ["postgres"], indirect=True)
