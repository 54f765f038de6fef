"""Fewer resamples than the kit's 10,000, so that the tests are quick."""

import pytest

from qponder_lib.metrics import bootstrap


@pytest.fixture(autouse=True, scope="session")
def _few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "N_RESAMPLES", 300)
        yield


@pytest.fixture
def many_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough resamples to be compared with another way to an interval."""
    monkeypatch.setattr(bootstrap, "N_RESAMPLES", 4000)
