# SPDX-License-Identifier: Apache-2.0
"""The real generation through a real server: the frames of a take are the same, bit for bit, as in one process, killed or not."""
from __future__ import annotations

import pytest
from house import folder_hashes
from platebridge.client import Client
from platebridge.events import Done, FileReady
from platebridge.takes import TakeWriter, verify_take

TAKE = "9" * 32


def frames_only(hashes):
    """Without take.json and preview.mp4: those also tell how long it took, and what came before a break."""
    return {name: sha for name, sha in hashes.items() if name.endswith(".exr")}


@pytest.fixture(scope="module")
def here(tmp_path_factory, tiny_maker):
    """(shot, hashes of its take as generated in this process)."""
    from platebridge_server.generate import generate

    root = tmp_path_factory.mktemp("here")
    shot = tiny_maker(root / "tiny", frames=6)
    request = shot.request(quality="draft")
    writer = TakeWriter.create(root / "takes", TAKE)
    (root / "scratch").mkdir()
    for event in generate(request, shot.open_file, TAKE, scratch=root / "scratch", device="cpu", origin={}):
        if isinstance(event, FileReady):
            writer.write(event)
    return shot, request, folder_hashes(writer.path)


def test_the_same_request_gives_the_same_frames_through_a_server(here, houses, tmp_path):
    shot, request, hashes = here
    house = houses(generator="platebridge_server.generate:generate").start()
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    with Client(house.connection) as client:
        client.run(request, shot.open_file, writer)
        cards = client.models().result(10)
    assert frames_only(folder_hashes(writer.path)) == frames_only(hashes) and verify_take(writer.path) == []
    assert next(card["name"] for card in cards) == "dust"


def test_killed_at_two_places_it_gives_the_same_frames(here, houses, tmp_path):
    """The worker in the midst of the model, then the whole server between two frames."""
    shot, request, hashes = here
    house = houses(generator="platebridge_server.generate:generate").start()
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    came, worker = [], None
    with Client(house.connection) as client:
        job = client.upload_and_submit(request, shot.open_file, TAKE)
        while not job.finished:
            event = job.next(120)
            assert event is not None, "nothing came for 120 s"
            if getattr(event, "phase", "") == "generating" and worker is None:
                worker = house.worker()
                worker.kill()
            if isinstance(event, FileReady):
                writer.write(event)
                came.append(event.name)
                if event.name == "comp.1003.exr":
                    house.kill()
                    house.start()
        assert isinstance(event, Done) and worker is not None
    assert frames_only(folder_hashes(writer.path)) == frames_only(hashes) and verify_take(writer.path) == []
    assert len(came) == len(set(came))


def test_takes_submitted_together_share_one_simulation_and_another_light_needs_no_model(here, houses, tmp_path):
    shot, request, _ = here
    house = houses(generator="platebridge_server.generate:generate").start()
    asked = [request.with_dials(dials) for dials in ({}, {"density": 2.0}, {"light": 2.0, "tint": (0.3, 0.3, 0.3)})]
    steps = []
    with Client(house.connection) as client:
        takes = [str(n) * 32 for n in range(1, 4)]
        jobs = [client.upload_and_submit(one, shot.open_file, take) for one, take in zip(asked, takes)]
        for job, take in zip(jobs, takes):
            writer, seen = TakeWriter.create(tmp_path / "takes", take), []
            client.finish(job, writer, seen.append)
            assert verify_take(writer.path) == []
            steps.append({phase: sum(1 for e in seen if getattr(e, "phase", "") == phase) for phase in ("guide", "generating")})
    assert steps[0]["guide"] == 2 * steps[1]["guide"] and steps[0]["generating"] == steps[1]["generating"] > 0
    assert steps[2] == {"guide": 0, "generating": 0}
