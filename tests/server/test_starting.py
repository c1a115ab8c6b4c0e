# SPDX-License-Identifier: Apache-2.0
"""What is imported is not looked through for garbage, and all else is as before."""

import gc

import pytest
from platebridge_server.starting import importing


@pytest.fixture(autouse=True)
def thawed():
    yield
    gc.unfreeze()


def test_what_came_in_is_taken_to_stay_and_what_comes_later_is_not():
    before = gc.get_freeze_count()
    with importing():
        assert not gc.isenabled()
        kept = [[] for _ in range(1000)]
    assert gc.isenabled() and gc.get_freeze_count() >= before + len(kept)
    later = gc.get_freeze_count()
    [[] for _ in range(1000)]
    assert gc.get_freeze_count() == later


def test_an_import_that_fails_leaves_the_collector_on():
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_off():
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
