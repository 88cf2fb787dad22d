# SPDX-License-Identifier: Apache-2.0
"""Clothes, hair, shoes and skin for the body: which triangles are drawn, how far they stand off,
and their colours."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from lifting_ros.research.rendering.body import BodyModel, Shape
from lifting_ros.research.rendering.body_pose import SIDES
from lifting_ros.research.rendering.render import Material
from lifting_ros.research.rendering.render_textures import fabric, random_colour, waves

FOOT = 2.2  # leg coordinate of the foot: hip 0, knee 1, ankle 2


@dataclass(frozen=True)
class Layer:
    """Triangles that share a material and stand off the skin by the same distance."""

    faces: np.ndarray
    """(F, 3) vertex numbers of the body model."""
    offset_m: float
    material: Material
    garment: bool = False
    """Whether it is cloth that can hang without the body."""


@dataclass(frozen=True)
class Regions:
    """Where the clothes' shells lie on the body, measured once on the unshaped mesh."""

    arm: np.ndarray
    """(V,) 0 off the arm, else 0 at the shoulder, 1 at the elbow, 2 at the wrist."""
    leg: np.ndarray
    """(V,) 0 off the leg, else 0 at the hip, 1 at the knee, 2 at the ankle, 2.2 on the foot."""
    height_m: np.ndarray
    """(V,) above the hip joints."""
    shell: np.ndarray
    """(number of skin vertices,) nearest vertex of the tights."""
    scalp: np.ndarray
    """(V,) True where hair grows."""
    face: np.ndarray
    """(V,) True for shell vertices that would hide the face."""


@lru_cache(maxsize=2)
def regions(model_key) -> Regions:
    """Regions of a body model; `model_key` is a ModelKey."""
    model = model_key.model
    rig = model.rig
    base = model.base_m
    heads = np.stack([base[k].mean(0) for k in rig.head_vertices])
    arm = np.zeros(len(base), np.float32)
    leg = np.zeros(len(base), np.float32)

    for side, letter, _, _ in SIDES:
        _along(arm, model, heads, [f"{side}Arm", f"{side}ForeArm", f"{side}Hand"])
        _along(leg, model, heads, [f"{side}UpLeg", f"{side}Leg", f"{side}Foot"])
        for bone in ("Hand", "FingerBase", "HandFinger1"):
            arm[model.bone_index[:, 0] == rig.index(side + bone)] = FOOT

        arm[model.bone_index[:, 0] == rig.index(letter + "Thumb")] = FOOT
        for bone in ("Foot", "ToeBase"):
            leg[model.bone_index[:, 0] == rig.index(side + bone)] = FOOT

    eyes = base[model.groups["joint-l-eye"]].mean(0)
    skull = np.isin(model.bone_index[:, 0], [rig.index("Head"), rig.index("Neck1")])
    ahead = base[:, 2] - (eyes[2] - 0.09)  # from about the ear
    scalp = skull & (base[:, 1] > eyes[1] + np.where(ahead > 0, 0.75 * ahead, 0.6 * ahead) - 0.005)
    face = (ahead > 0.0) & (base[:, 1] < eyes[1] + 0.05) & (np.abs(base[:, 0]) < 0.078)
    hips = heads[rig.index("LeftUpLeg"), 1]

    return Regions(arm, leg, base[:, 1] - hips, _nearest(base, model), scalp, face)


@dataclass(frozen=True)
class ModelKey:
    """Lets a body model be the key of a cache: equal when the folder is."""

    folder: Path
    model: BodyModel

    def __hash__(self):
        return hash(self.folder)

    def __eq__(self, other):
        return self.folder == other.folder


def dress(model: BodyModel, shape: Shape, rng: np.random.Generator, prints=()) -> list:
    """Random clothes, hair and skin for a body: a list of Layer. `prints`: RGB photographs to print
    on some fabrics."""
    area = regions(ModelKey(model.folder, model))
    tights = model.faces["helper-tights"]
    male = shape.traits.gender["male"]
    skirt = rng.random() < (0.3 if male < 0.5 else 0.02)
    waist = rng.uniform(0.05, 0.11)
    upper, sleeve = _upper(model, area, rng, waist)
    lower = _lower(model, area, rng, waist, skirt)
    shoes = _middle(area.leg, tights) > (rng.choice([1.97, 1.85]) if rng.random() < 0.92 else 9)
    away = rng.uniform(0.003, 0.014)
    top = fabric(rng, prints)
    layers = [Layer(tights[upper], away, top, garment=True)]

    if skirt:
        layers.append(
            Layer(
                _skirt(model, area, rng),
                0.004,
                top if rng.random() < 0.4 else fabric(rng, prints),
                garment=True,
            )
        )

    layers.append(
        Layer(
            tights[lower],
            min(rng.uniform(0.001, 0.012), away - 0.001),
            fabric(rng, prints),
            garment=True,
        )
    )

    if rng.random() < 0.25 and sleeve > 1:
        layers.append(Layer(_jacket(model, area, rng), away + 0.008, fabric(rng, ()), garment=True))

    layers.append(Layer(tights[shoes], 0.006, _shoe(rng)))
    layers += _hair(model, area, shape, rng, male)
    layers.append(Layer(_bare(model, area, upper | lower | shoes), 0.0, _skin(model, shape, rng)))
    eyes = np.concatenate([model.faces["helper-l-eye"], model.faces["helper-r-eye"]])
    layers.append(Layer(eyes, 0.0, Material(_eye_colour(model, shape), gloss=0.4)))

    return [layer for layer in layers if len(layer.faces)]


def garments(layers) -> list:
    """Those of the layers that are cloth and can hang without the body."""
    return [layer for layer in layers if layer.garment]


def _upper(model, area, rng, waist):
    tights = model.faces["helper-tights"]
    arm, leg, height = (_middle(value, tights) for value in (area.arm, area.leg, area.height_m))
    sleeve = rng.choice(
        [rng.uniform(0.0, 0.2), rng.uniform(0.35, 0.75), rng.uniform(1.5, 1.98)],
        p=[0.12, 0.43, 0.45],
    )
    hem = rng.choice(
        [waist, rng.uniform(-0.06, 0.03), rng.uniform(-0.25, -0.08)], p=[0.35, 0.5, 0.15]
    )
    collar = rng.uniform(0.49, 0.57)
    neck = (height > collar) & (_middle(np.abs(model.base_m[:, 0]), tights) < 0.085)
    body = (height > hem) & (leg < 0.75) & ~neck

    return body & (arm <= sleeve + 0.01), sleeve


def _lower(model, area, rng, waist, skirt):
    tights = model.faces["helper-tights"]
    arm, leg, height = (_middle(value, tights) for value in (area.arm, area.leg, area.height_m))
    length = rng.choice([rng.uniform(0.45, 0.95), rng.uniform(1.2, 1.7), 1.96], p=[0.22, 0.08, 0.7])
    if skirt and rng.random() < 0.6:
        length = 0.3  # underwear

    return (height < waist + 0.02) & (arm < 0.01) & (leg <= length)


def _jacket(model, area, rng):
    tights = model.faces["helper-tights"]
    arm, leg, height = (_middle(value, tights) for value in (area.arm, area.leg, area.height_m))
    x, z = (_middle(model.base_m[:, k], tights) for k in (0, 2))
    opening = (np.abs(x) < rng.uniform(0.02, 0.06)) & (z > 0.02)

    return tights[
        (height > rng.uniform(-0.15, 0.05)) & (leg < 0.6) & (arm < 1.9) & (height < 0.53) & ~opening
    ]


def _skirt(model, area, rng):
    faces = model.faces["helper-skirt"]
    height = _middle(area.height_m, faces)
    hem = rng.uniform(-0.75, -0.25)
    return faces[height > hem]


def _hair(model, area, shape, rng, male):
    style = rng.choice(
        ["bald", "short", "long"], p=[0.1, 0.8, 0.1] if male > 0.5 else [0.01, 0.39, 0.6]
    )
    if style == "bald":
        return []

    body = model.faces["body"]
    shell = model.faces["helper-hair"]
    grey = shape.traits.age["old"] > rng.uniform(0.4, 1.2)
    colours = [
        (0.03, 0.025, 0.02),
        (0.09, 0.05, 0.03),
        (0.22, 0.12, 0.06),
        (0.5, 0.36, 0.18),
        (0.3, 0.1, 0.05),
    ]
    pick = rng.choice(5, p=[0.35, 0.25, 0.2, 0.12, 0.08])
    colour = np.full(3, rng.uniform(0.35, 0.75)) if grey else np.array(colours[pick])
    material = Material(
        lambda rest: colour * (0.75 + 0.5 * waves(rest, 180.0)), bump=0.25, gloss=0.15
    )
    cap = Layer(body[area.scalp[body].all(1)], rng.uniform(0.004, 0.02), material)
    if style == "short":
        return [cap]

    end = rng.uniform(0.25, 0.62)
    strands = shell[(_middle(area.height_m, shell) > end) & ~area.face[shell].any(1)]

    return [cap, Layer(strands, 0.004, material)]


def _shoe(rng):
    colour = (
        random_colour(rng, vivid=0.35)
        if rng.random() < 0.4
        else np.full(3, rng.choice([0.03, 0.06, 0.12, 0.85]))
    )
    return Material(
        lambda rest: np.tile(colour.astype(np.float32), (len(rest), 1)), gloss=rng.uniform(0, 0.3)
    )


def _bare(model, area, covered):
    """Skin triangles that are not well under a garment (covered skin would show through where
    joints bend)."""
    tights = model.faces["helper-tights"]
    body = model.faces["body"]
    inner = np.zeros(len(model.base_m), bool)
    inner[tights[covered]] = True
    inner[tights[~covered]] = False

    hidden = inner[area.shell[body]].all(1)
    return body[~hidden]


def _skin(model, shape, rng):
    race = shape.traits.race
    folder = model.folder / "litspheres"
    sphere = sum(
        share * _sphere(str(folder / f"skinmat_{name}.png")) for name, share in race.items()
    )
    tone = np.array([1, rng.uniform(0.94, 1.03), rng.uniform(0.9, 1.05)]) * rng.uniform(1.05, 1.45)
    eye, mouth = (
        shape.vertices_m[model.groups[name]].mean(0) for name in ("joint-l-eye", "joint-mouth")
    )
    brow = rng.uniform(0.25, 0.7)
    lips = np.array([1.0, 0.68, 0.68])

    def albedo(rest):
        colour = np.tile(tone, (len(rest), 1))
        front = rest[:, 2] > eye[2] - 0.005
        x = np.abs(rest[:, 0])
        colour[
            front & (np.abs(x - eye[0]) < 0.02) & (np.abs(rest[:, 1] - eye[1] - 0.021) < 0.0035)
        ] *= brow
        colour[front & (np.hypot(x / 0.024, (rest[:, 1] - mouth[1]) / 0.008) < 1)] *= lips

        return colour

    return Material(albedo, sphere=sphere.astype(np.float32), gloss=0.03)


def _eye_colour(model, shape):
    eye = shape.vertices_m[model.groups["joint-l-eye"]].mean(0)

    def albedo(rest):
        away = np.hypot(np.abs(rest[:, 0]) - eye[0], rest[:, 1] - eye[1])
        return np.where((away < 0.0065)[:, None], [0.12, 0.08, 0.05], [0.85, 0.83, 0.8])

    return albedo


@lru_cache(maxsize=8)
def _sphere(path: str):
    import cv2

    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"body folder: {path} is missing or no picture")

    # as painted it is too dark and red beside photographs
    return (image[:, :, ::-1].astype(np.float32) / 255) ** 0.78


def _middle(value, faces):
    """(F,) mean of a vertex value over the quad that each triangle is half of, so that hems run
    along the mesh."""
    # The mesh has quads only: triangles come in pairs.
    of_triangles = value[faces].mean(1)
    of_quads = of_triangles.reshape(-1, 2).mean(1)
    return of_quads.repeat(2)


def _along(out, model, heads, bones):
    numbers = [model.rig.index(name) for name in bones]
    for k in range(2):
        start = heads[numbers[k]]
        end = heads[numbers[k + 1]]
        mine = model.bone_index[:, 0] == numbers[k]
        share = (model.base_m[mine] - start) @ (end - start) / np.sum((end - start) ** 2)
        out[mine] = k + np.clip(share, 0.02 if k == 0 else 0.0, 1)


def _nearest(base, model):
    tights = np.unique(model.faces["helper-tights"])
    skin = base[model.groups["body"]]
    nearest = np.empty(len(skin), np.int64)
    shell = base[tights].astype(float)

    for start in range(0, len(skin), 500):
        part = skin[start : start + 500].astype(float)
        gap = np.sum(part**2, axis=1)[:, None] + np.sum(shell**2, axis=1) - 2 * part @ shell.T
        best = np.argmin(gap, axis=1)
        # hands, neck and head have no shell: they point at no vertex of it
        nearest[start : start + 500] = np.where(
            gap[np.arange(len(best)), best] < 0.03**2, tights[best], -1
        )

    return nearest
