# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces and a plan of releases -> where every piece is in every frame, by Blender's rigid bodies.

The direction comes from data, not from the solver: when each piece is let go, with which velocity, and how strong the
glue between neighbours is. Simulates invisible proxies in a scene of its own that is gone afterwards; what comes back is
an array. Knows nothing of cameras, plates or keys on visible objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from .fracture import Piece, face_planes
from .keys import curves_for, write_curve
from .meshes import piece_mesh

NEVER = 1_000_000
"""Release frame of a piece that stays standing."""


@dataclass
class Plan:
    """What the artist decides. n pieces, m glued pairs; frames are the simulation's own, 1 is the first.

    release: (n,) int, the last frame at rest; NEVER stays for ever. A piece does not move at all before it.
    velocity: (n, 3) m/s and spin: (n, 3) rad/s about world axes, at the moment of release.
    pairs: (m, 2) int piece indices. strength: (m,) impulse in N s at which the glue breaks.
    """

    release: np.ndarray
    velocity: np.ndarray
    spin: np.ndarray
    pairs: np.ndarray
    strength: np.ndarray

    def check(self, count: int) -> None:
        """One sentence where an array does not fit the pieces."""
        shapes = {"release": (count,), "velocity": (count, 3), "spin": (count, 3), "pairs": (len(self.strength), 2)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"The plan's {name} has shape {getattr(self, name).shape}, but {count} pieces need {shape}.")
        if len(self.pairs) and not (self.pairs.min() >= 0 and self.pairs.max() < count):
            raise ValueError(f"The plan glues a piece that is not there: indices must be 0 to {count - 1}.")
        for name in ("velocity", "spin", "strength"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"The plan's {name} holds a value that is not a number.")


def simulate(
    pieces: Sequence[Piece],
    plan: Plan,
    *,
    frames: int,
    fps: int = 24,
    ground: float = 0.0,
    substeps: int = 10,
    iterations: int = 10,
    shrink: float = 0.02,
    density: float = 2000.0,
    friction: float = 0.6,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Placements (frames, n, 4, 4) float64: `matrix_world` of objects whose origin is the piece's centre.

    Frame 0 of the result is the simulation's frame 1, at rest. `shrink`: metres taken off every side of the collision
    shapes: without it touching hulls push each other apart and the building swells before it falls. Deterministic.
    """
    plan.check(len(pieces))
    if frames < 2:
        raise ValueError("A collapse needs two frames at least.")
    window = bpy.context.window or bpy.context.window_manager.windows[0]
    before = window.scene
    scene = bpy.data.scenes.new("collapse simulation")
    made: list[bpy.types.ID] = []
    try:
        window.scene = scene  # what an operator works on; a `temp_override` is not safe beside other threads
        scene.render.fps, scene.frame_start, scene.frame_end = fps, 1, frames
        bodies = _bodies(scene, pieces, made, shrink)
        glue = _glue(scene, plan, bodies, made)
        floor = _floor(scene, ground, made)
        _world(scene, bodies, glue, floor, frames, substeps, iterations)
        _settings(pieces, plan, bodies, glue, floor, density, friction)
        for body, piece, last, velocity, spin in zip(bodies, pieces, plan.release, plan.velocity, plan.spin):
            _key_release(body, piece, int(last), velocity, spin, fps, made)
        result = np.empty((frames, len(pieces), 4, 4))
        depsgraph = scene.view_layers[0].depsgraph
        for frame in range(1, frames + 1):
            scene.frame_set(frame)
            for i, body in enumerate(bodies):
                result[frame - 1, i] = body.evaluated_get(depsgraph).matrix_world
            if progress:
                progress(frame, frames)
    finally:
        window.scene = before
        _forget(scene, made)
    return tame(result, fps)


def tame(placements: np.ndarray, fps: int = 24, fastest: float = 30.0, gravity: float = 9.81) -> np.ndarray:
    """Bullet now and then fires a squeezed piece away. From the frame in which a piece would move faster than `fastest`
    m/s or appears outside of reason, it goes on ballistically with the velocity it had before, still turning. (frames, n, 4, 4)."""
    result = placements.copy()
    step = np.diff(result[:, :, :3, 3], axis=0) * fps
    wild = ~(np.linalg.norm(step, axis=2) <= fastest)  # not <=, so that NaN is wild too
    for piece in np.flatnonzero(wild.any(0)):
        first = int(wild[:, piece].argmax())  # moves from frame `first` to the next
        velocity = step[first - 1, piece].copy() if first else np.zeros(3)
        speed = np.linalg.norm(velocity)
        velocity *= min(1.0, 0.5 * fastest / max(speed, 1e-9))
        for frame in range(first + 1, len(result)):
            velocity[2] -= gravity / fps
            result[frame, piece, :3, :3] = result[first, piece, :3, :3]
            result[frame, piece, :3, 3] = result[frame - 1, piece, :3, 3] + velocity / fps
            if result[frame, piece, 2, 3] < 0.3:
                result[frame:, piece] = result[frame, piece]
                break
    return result


def _bodies(scene, pieces, made, shrink) -> list[bpy.types.Object]:
    bodies = []
    for number, piece in enumerate(pieces):
        solid, planes = piece.solid, face_planes(piece.solid)
        for plane in planes:
            smaller = solid.clip(tuple(map(float, plane[:3])), float(plane[3]) - shrink)
            if smaller is None:
                break
            solid = smaller
        else:
            smaller = solid
        mesh = piece_mesh(f"proxy {number}", smaller or piece.solid, piece.centre, scale=1.0 if smaller else 0.7)
        body = bpy.data.objects.new(f"proxy {number}", mesh)
        body.rotation_mode = "QUATERNION"
        body.location = piece.centre
        scene.collection.objects.link(body)
        bodies.append(body)
        made += [body, mesh]
    return bodies


def _glue(scene, plan, bodies, made) -> list[bpy.types.Object]:
    glue = []
    for a, b in plan.pairs:
        empty = bpy.data.objects.new("glue", None)
        empty.location = (bodies[a].location + bodies[b].location) / 2
        scene.collection.objects.link(empty)
        glue.append(empty)
        made.append(empty)
    return glue


def _floor(scene, ground, made) -> bpy.types.Object:
    # a BOX shape is centred on the object's origin: an origin on its upper side would stick into the building
    mesh = bpy.data.meshes.new("ground")
    half, deep = 400.0, 20.0
    corners = [(x, y, z) for z in (-deep, deep) for y in (-half, half) for x in (-half, half)]
    mesh.from_pydata(corners, [], [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)])
    floor = bpy.data.objects.new("ground", mesh)
    floor.location = (0, 0, ground - deep)
    scene.collection.objects.link(floor)
    made += [floor, mesh]
    return floor


def _world(scene, bodies, glue, floor, frames, substeps, iterations) -> None:
    bpy.ops.rigidbody.world_add()
    world = scene.rigidbody_world
    world.collection = bpy.data.collections.new("collapse bodies")
    world.constraints = bpy.data.collections.new("collapse glue")
    world.substeps_per_frame, world.solver_iterations, world.use_split_impulse = substeps, iterations, True
    world.point_cache.frame_start, world.point_cache.frame_end = 1, frames
    for body in [*bodies, floor]:
        world.collection.objects.link(body)
    for empty in glue:
        world.constraints.objects.link(empty)
    scene.frame_set(1)  # bodies and constraints get their data only now


def _settings(pieces, plan, bodies, glue, floor, density, friction) -> None:
    for body, piece, last in zip(bodies, pieces, plan.release):
        rb = body.rigid_body
        rb.type = "PASSIVE" if last >= NEVER else "ACTIVE"
        rb.collision_shape = "CONVEX_HULL"
        rb.use_margin, rb.collision_margin = True, 0.0
        rb.mass = piece.volume * density
        rb.friction, rb.restitution = friction, 0.0
        rb.linear_damping, rb.angular_damping = 0.04, 0.2
        rb.use_deactivation = False
        rb.kinematic = True
    rb = floor.rigid_body
    rb.type, rb.collision_shape, rb.friction = "PASSIVE", "BOX", 0.9
    rb.use_margin, rb.collision_margin = True, 0.0
    for empty, (a, b), strength in zip(glue, plan.pairs, plan.strength):
        joint = empty.rigid_body_constraint
        joint.type = "FIXED"
        joint.object1, joint.object2 = bodies[a], bodies[b]
        joint.use_breaking, joint.breaking_threshold = True, float(strength)
        joint.disable_collisions = False  # else neighbours whose glue broke fall through each other


def _key_release(body, piece, last, velocity, spin, fps, made) -> None:
    """Kinematic up to the release; two linear keys before it hand the solver exactly the velocity asked for."""
    if last >= NEVER:
        return
    bag, action = curves_for(body)
    made.append(action)
    write_curve(bag, "rigid_body.kinematic", 0, [1, last + 1], [1.0, 0.0], "CONSTANT")
    if velocity.any() or spin.any():
        # the piece stands where it will be at the release, so that the step before it is the only one it makes
        for axis in range(3):
            rest = piece.centre[axis]
            write_curve(bag, "location", axis, [last - 1, last], [rest, rest + velocity[axis] / fps], "LINEAR")
        angle = float(np.linalg.norm(spin)) / fps
        turn = np.array([1.0, 0, 0, 0])
        if angle > 0.0:
            turn = np.append(np.cos(angle / 2), np.sin(angle / 2) * spin / np.linalg.norm(spin))
        for axis in range(4):
            write_curve(bag, "rotation_quaternion", axis, [last - 1, last], [float(axis == 0), float(turn[axis])], "LINEAR")


def _forget(scene, made) -> None:
    world = scene.rigidbody_world
    extra = [c for c in (world.collection, world.constraints) if c] if world else []
    bpy.data.scenes.remove(scene)
    bpy.data.batch_remove([*made, *extra])
