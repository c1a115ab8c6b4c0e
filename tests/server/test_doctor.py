# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""`platebridge doctor`: what it finds here, and how it says to mend what is not there."""

import json

import pytest
import torch
from platebridge_server import doctor
from platebridge_server.models import registry
from test_cli import StandIn, alone, run  # noqa: F401


def test_doctor_says_what_is_there(run):
    code, said, _ = run("doctor", "--json")
    found = {f["what"]: f for f in json.loads(said)}
    assert {"platebridge", "packages", "encryption", "processor", "memory", "disk for jobs", "model dust", "port 47800", "server"} <= set(
        found
    )
    assert code == (0 if all(f["good"] for f in found.values()) else 1)
    assert all(f["mend"] for f in found.values() if not f["good"]) and not any(f["mend"] for f in found.values() if f["good"])


@pytest.mark.parametrize("driver, built_for, idle", [("nvidia-smi", None, True), (None, None, False), ("nvidia-smi", "12.8", False)])
def test_doctor_says_that_a_card_lies_idle_for_want_of_a_torch_for_it(monkeypatch, driver, built_for, idle):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: driver)
    found = next(finding for finding in doctor._devices() if finding.what == "GPU")
    assert (not found.good and "pytorch.org" in found.mend) if idle else found.good


def test_doctor_says_how_to_mend_what_is_not_there(run, monkeypatch, tmp_path):
    class Altered(StandIn):
        def load(self, device):
            from platebridge.errors import ModelError

            raise ModelError("The weights differ.", "Install it again.")

    monkeypatch.setitem(registry._MODELS, "dust", Altered)
    (tmp_path / "connection.json").write_text("{")
    (tmp_path / "connection.json").chmod(0o600)
    code, said, _ = run("doctor", "--connection", tmp_path / "connection.json")
    assert code == 1 and "The weights differ." in said and "Install it again." in said and "damaged" in said


def test_doctor_makes_a_round_trip_to_a_running_server(run, house):
    _, said, _ = run("doctor", "--json", "--connection", house.connection)
    found = {f["what"]: f for f in json.loads(said)}
    assert found["round trip"]["good"] and found["connection"]["good"]
