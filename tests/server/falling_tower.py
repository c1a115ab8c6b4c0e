# SPDX-License-Identifier: Apache-2.0
"""A tower of blocks comes down before a wall, behind a post, seen by a camera that may move: what a guide is made from.

Answers what `shot.Shot` answers, from rays and boxes, so that depth, mask, vectors and every velocity are known exactly.
"""

from __future__ import annotations

import numpy as np
from platebridge.frames import FrameRange
from platebridge.request import Camera, CameraFrame, GenerateRequest, Inputs
from platebridge_server.camera import CameraPath

FIRST = 1001


def looking(eye, target):
    """camera_to_world, 4 rows of 4, of an upright camera."""
    eye, target = np.asarray(eye, float), np.asarray(target, float)
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross([0, 0, 1.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = right, np.cross(back, right), back, eye
    return tuple(map(tuple, matrix))


class FallingTower:
    """begin: frames that it stands still; None for ever. travel: metres that the camera goes to the right per frame.

    velocity: (x, y, z) metres per second that every block has once it moves, or None: each falls in its own way. eye: where the
    camera is half way. simulation: named in the request. dials: others than a quick draft's.
    """

    def __init__(self, size=(54, 96), frames=16, begin=3, travel=0.4, velocity=None, vectors=True, eye=(0, -60, 6), simulation="", **dials):
        self.size, self.begin, self.velocity, self.has_vectors, self.geometry = size, begin, velocity, vectors, ""
        span = FrameRange(FIRST, FIRST + frames - 1)
        middle = frames // 2
        cameras = tuple(CameraFrame(f, looking((eye[0] + (f - FIRST - middle) * travel, *eye[1:]), (0, 0, 11))) for f in span)
        request = GenerateRequest("falling", span, Inputs(), Camera(35, 36, (0, 0, 1), cameras), simulation=simulation)
        self.request = request.with_dials({"detail": 32, "debris": 20, "quality": "draft", **dials})
        self.camera = CameraPath.from_request(self.request.camera, span, size[1], size[0])
        random = np.random.default_rng(3)
        self.blocks = [
            (np.array([(i - 1) * 6.0, 0.0, 2.5 + 5 * k]), random.uniform(0, 2), random.uniform(0.6, 1.2))
            for k in range(5)
            for i in range(3)
        ]
        self.half = np.array([2.95, 3.0, 2.45])
        self._held = {}

    def placed(self, frame):
        """Middles of the blocks at a frame, (n, 3)."""
        since = 0 if self.begin is None else max(0.0, (frame - FIRST - self.begin) / 24)
        if self.velocity is not None:
            return np.array([c + np.array(self.velocity) * since for c, _, _ in self.blocks])
        out = []
        for middle, wait, pull in self.blocks:
            fall = max(0.0, since - wait / 24)
            out.append([middle[0], middle[1], max(middle[2] - 0.5 * 25 * pull * fall**2, 1.0)])
        return np.array(out)

    def _rays(self, frame):
        if frame not in self._held:
            camera = self.camera.at(frame)
            eye = camera.camera_to_world[:3, 3]
            rays = camera.unproject(np.ones(self.size)) - eye
            rays = np.where(np.abs(rays) < 1e-12, 1e-12, rays)
            depth = np.where(rays[..., 2] < 0, -eye[2] / rays[..., 2], np.inf)
            depth = np.where(depth < 400, depth, np.inf)
            number = np.full(self.size, -1)
            still = [((0, 30, 5), (60, 1, 5)), ((4, -35, 6), (0.6, 0.6, 6))]
            boxes = [(np.array(c, float), np.array(h, float), -1) for c, h in still] + [
                (c, self.half, i) for i, c in enumerate(self.placed(frame))
            ]
            for middle, half, which in boxes:
                a, b = (middle - half - eye) / rays, (middle + half - eye) / rays
                enter, leave = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
                hit = (leave > enter) & (enter > 0) & (enter < depth)
                depth, number = np.where(hit, enter, depth), np.where(hit, which, number)
            self._held[frame] = depth.astype(np.float32), number
        return self._held[frame]

    def depth(self, frame):
        return self._rays(frame)[0]

    def mask(self, frame):
        return (self._rays(frame)[1] >= 0).astype(np.float32)

    def vectors(self, frame):
        """Where each pixel's surface was a frame before, less where it is: pixels, x right, y up."""
        if not self.has_vectors:
            return None
        depth, number = self._rays(frame)
        points = self.camera.at(frame).unproject(np.where(np.isfinite(depth), depth, 1e4))
        moved = self.placed(frame) - self.placed(frame - 1)
        before = points - np.where((number >= 0)[..., None], moved[np.maximum(number, 0)], 0)
        (x, y, _), (was_x, was_y, _) = self.camera.at(frame).project(points), self.camera.at(frame - 1).project(before)
        return np.stack([was_x - x, y - was_y], -1).astype(np.float32)

    def plate(self, frame):
        depth, number = self._rays(frame)
        plate = np.where((number >= 0)[..., None], (0.6, 0.5, 0.4), (0.3, 0.3, 0.3)).astype(np.float32)
        plate[~np.isfinite(depth)] = (0.6, 0.9, 1.5)
        return plate
