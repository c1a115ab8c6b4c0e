# SPDX-License-Identifier: Apache-2.0
"""What is imported is not looked through for garbage, and all else is as before: what is frozen of others is never closed."""

import gc

import pytest
from platebridge_server.starting import importing


def test_nobody_looks_for_garbage_while_something_is_imported():
    frozen = gc.get_freeze_count()
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() == frozen


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
