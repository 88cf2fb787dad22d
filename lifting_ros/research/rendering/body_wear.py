# SPDX-License-Identifier: Apache-2.0
"""Clothes, hair, shoes and skin of the body: the triangles that are drawn, their distance from the
skin, and their colours."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.research.rendering.body import BodyModel, Shape
from lifting_ros.research.rendering.body_pose import SIDES
from lifting_ros.research.rendering.render import Material
from lifting_ros.research.rendering.render_textures import fabric, random_colour, waves

FOOT = 2.2
"""Arm or leg coordinate of a hand or foot (hip 0, knee 1, ankle 2)."""

_HAIR_COLOURS = (
    (0.03, 0.025, 0.02),
    (0.09, 0.05, 0.03),
    (0.22, 0.12, 0.06),
    (0.5, 0.36, 0.18),
    (0.3, 0.1, 0.05),
)
"""RGB in [0, 1]."""


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
    """Where the vertices lie on the body, measured on the unshaped mesh."""

    arm: np.ndarray
    """(V,) 0 at the shoulder and off the arm, 1 at the elbow, 2 at the wrist, 2.2 on the hand."""
    leg: np.ndarray
    """(V,) 0 at the hip and off the leg, 1 at the knee, 2 at the ankle, 2.2 on the foot."""
    height_m: np.ndarray
    """(V,) above the hip joints."""
    shell: np.ndarray
    """(number of skin vertices,) nearest vertex of the tights, -1 where none is near."""
    scalp: np.ndarray
    """(V,) True where hair grows."""
    face: np.ndarray
    """(V,) True for vertices of the hair that would hide the face."""


@lru_cache(maxsize=2)
def regions(model_key) -> Regions:
    """Regions of a body model; `model_key` is a ModelKey."""
    model = model_key.model
    rig = model.rig
    base = model.base_m
    strongest = model.bone_index[:, 0]
    heads = np.stack([base[k].mean(0) for k in rig.head_vertices])

    # Limbs
    arm = np.zeros(len(base), np.float32)
    leg = np.zeros(len(base), np.float32)
    for side, letter, _, _ in SIDES:
        _along(arm, model, heads, [f"{side}Arm", f"{side}ForeArm", f"{side}Hand"])
        _along(leg, model, heads, [f"{side}UpLeg", f"{side}Leg", f"{side}Foot"])
        for bone in (f"{side}Hand", f"{side}FingerBase", f"{side}HandFinger1", f"{letter}Thumb"):
            arm[strongest == rig.index(bone)] = FOOT
        for bone in (f"{side}Foot", f"{side}ToeBase"):
            leg[strongest == rig.index(bone)] = FOOT

    # Head: `ahead` is measured from about the ear
    eyes = base[model.groups["joint-l-eye"]].mean(0)
    x, y, z = base.T
    ahead = z - (eyes[2] - 0.09)
    skull = np.isin(strongest, [rig.index("Head"), rig.index("Neck1")])
    hairline = eyes[1] + np.where(ahead > 0, 0.75 * ahead, 0.6 * ahead) - 0.005
    scalp = skull & (y > hairline)
    face = (ahead > 0.0) & (y < eyes[1] + 0.05) & (np.abs(x) < 0.078)

    height = y - heads[rig.index("LeftUpLeg"), 1]
    return Regions(
        arm,
        leg,
        height,
        _nearest(base, model),
        scalp,
        face,
    )


@dataclass(frozen=True)
class ModelKey:
    """A body model as the key of a cache: equal if the folder is equal."""

    folder: Path
    model: BodyModel

    def __hash__(self):
        return hash(self.folder)

    def __eq__(self, other):
        return self.folder == other.folder


class _Tights(NamedTuple):
    """The triangles that shirts and trousers are cut from, with their places on the body."""

    faces: np.ndarray
    """(F, 3)."""
    arm: np.ndarray
    """(F,) as in Regions."""
    leg: np.ndarray
    """(F,) as in Regions."""
    height: np.ndarray
    """(F,) metres above the hip joints."""


def _tights_of(model: BodyModel, area: Regions) -> _Tights:
    faces = model.faces["helper-tights"]
    arm = _middle(area.arm, faces)
    leg = _middle(area.leg, faces)
    height = _middle(area.height_m, faces)
    return _Tights(faces, arm, leg, height)


def dress(
    model: BodyModel,
    shape: Shape,
    rng: np.random.Generator,
    prints=(),
) -> list:
    """Random clothes, hair and skin of a body: a list of Layer.

    prints: photographs (H, W, 3) uint8 RGB that are printed on some fabrics.
    """
    area = regions(ModelKey(model.folder, model))
    tights = _tights_of(model, area)
    male = shape.traits.gender["male"]

    # Cuts
    skirt = rng.random() < (0.3 if male < 0.5 else 0.02)
    waist = rng.uniform(0.05, 0.11)
    upper, sleeve = _upper(model, tights, rng, waist)
    lower = _lower(tights, rng, waist, skirt)
    shoes = _shoes(tights, rng)

    # Shirt
    away = rng.uniform(0.003, 0.014)
    top = fabric(rng, prints)
    layers = [Layer(tights.faces[upper], away, top, garment=True)]

    if skirt:
        faces = _skirt(model, area, rng)
        cloth = top if rng.random() < 0.4 else fabric(rng, prints)
        layers.append(Layer(faces, 0.004, cloth, garment=True))

    # Trousers or underwear, below the shirt
    below = min(rng.uniform(0.001, 0.012), away - 0.001)
    layers.append(Layer(tights.faces[lower], below, fabric(rng, prints), garment=True))

    if rng.random() < 0.25 and sleeve > 1:
        faces = _jacket(model, tights, rng)
        layers.append(Layer(faces, away + 0.008, fabric(rng, ()), garment=True))

    layers.append(Layer(tights.faces[shoes], 0.006, _shoe(rng)))
    layers += _hair(model, area, shape, rng, male)

    # Skin and eyes
    bare = _bare(model, area, upper | lower | shoes)
    layers.append(Layer(bare, 0.0, _skin(model, shape, rng)))
    eyes = np.concatenate([model.faces["helper-l-eye"], model.faces["helper-r-eye"]])
    layers.append(Layer(eyes, 0.0, Material(_eye_colour(model, shape), gloss=0.4)))

    return [layer for layer in layers if len(layer.faces)]


def garments(layers) -> list:
    """The layers that are cloth and can hang without the body."""
    return [layer for layer in layers if layer.garment]


def _upper(model, tights, rng, waist):
    """The triangles (F,) bool of a shirt, and the length of its sleeves (arm coordinate)."""
    none = rng.uniform(0.0, 0.2)
    short = rng.uniform(0.35, 0.75)
    long = rng.uniform(1.5, 1.98)
    sleeve = rng.choice([none, short, long], p=[0.12, 0.43, 0.45])

    tucked_out = rng.uniform(-0.06, 0.03)
    tunic = rng.uniform(-0.25, -0.08)
    hem = rng.choice([waist, tucked_out, tunic], p=[0.35, 0.5, 0.15])

    collar = rng.uniform(0.49, 0.57)
    aside = _middle(np.abs(model.base_m[:, 0]), tights.faces)
    neck = (tights.height > collar) & (aside < 0.085)
    body = (tights.height > hem) & (tights.leg < 0.75) & ~neck

    return body & (tights.arm <= sleeve + 0.01), sleeve


def _lower(tights, rng, waist, skirt):
    """The triangles (F,) bool of trousers, or of underwear below a skirt."""
    short = rng.uniform(0.45, 0.95)
    cropped = rng.uniform(1.2, 1.7)
    length = rng.choice([short, cropped, 1.96], p=[0.22, 0.08, 0.7])
    if skirt and rng.random() < 0.6:
        length = 0.3  # underwear

    below_waist = tights.height < waist + 0.02
    beside_arms = tights.arm < 0.01
    above_hem = tights.leg <= length
    return below_waist & beside_arms & above_hem


def _shoes(tights, rng):
    """The triangles (F,) bool of shoes or boots; at times none."""
    top = 9
    if rng.random() < 0.92:
        top = rng.choice([1.97, 1.85])
    return tights.leg > top


def _jacket(model, tights, rng):
    """The triangles (n, 3) of an open jacket."""
    x, _, z = model.base_m.T
    aside = np.abs(_middle(x, tights.faces))
    ahead = _middle(z, tights.faces)
    opening = (aside < rng.uniform(0.02, 0.06)) & (ahead > 0.02)

    hem = rng.uniform(-0.15, 0.05)
    trunk = (tights.height > hem) & (tights.height < 0.53)
    limbs = (tights.leg < 0.6) & (tights.arm < 1.9)
    return tights.faces[trunk & limbs & ~opening]


def _skirt(model, area, rng):
    faces = model.faces["helper-skirt"]
    height = _middle(area.height_m, faces)
    hem = rng.uniform(-0.75, -0.25)
    return faces[height > hem]


def _hair(model, area, shape, rng, male):
    """Layers of hair: none, a cap, or a cap and long hair."""
    odds = [0.1, 0.8, 0.1] if male > 0.5 else [0.01, 0.39, 0.6]
    style = rng.choice(["bald", "short", "long"], p=odds)
    if style == "bald":
        return []

    # Colour
    grey = shape.traits.age["old"] > rng.uniform(0.4, 1.2)
    pick = rng.choice(len(_HAIR_COLOURS), p=[0.35, 0.25, 0.2, 0.12, 0.08])
    colour = np.array(_HAIR_COLOURS[pick])
    if grey:
        colour = np.full(3, rng.uniform(0.35, 0.75))

    def albedo(rest):
        return colour * (0.75 + 0.5 * waves(rest, 180.0))

    material = Material(albedo, bump=0.25, gloss=0.15)

    # Cap
    body = model.faces["body"]
    on_scalp = area.scalp[body].all(1)
    cap = Layer(body[on_scalp], rng.uniform(0.004, 0.02), material)
    if style == "short":
        return [cap]

    # Long hair
    shell = model.faces["helper-hair"]
    end = rng.uniform(0.25, 0.62)
    above_end = _middle(area.height_m, shell) > end
    hides_face = area.face[shell].any(1)
    return [cap, Layer(shell[above_end & ~hides_face], 0.004, material)]


def _shoe(rng):
    """The material of a pair of shoes: coloured, or mostly dark."""
    if rng.random() < 0.4:
        colour = random_colour(rng, vivid=0.35)
    else:
        colour = np.full(3, rng.choice([0.03, 0.06, 0.12, 0.85]))
    colour = colour.astype(np.float32)

    def albedo(rest):
        return np.tile(colour, (len(rest), 1))

    return Material(albedo, gloss=rng.uniform(0, 0.3))


def _bare(model, area, covered):
    """Skin triangles (n, 3) that are not well under a garment: covered skin would show through
    where joints bend. covered: (F,) bool, triangles of the tights that are worn."""
    tights = model.faces["helper-tights"]
    inner = np.zeros(len(model.base_m), bool)
    inner[tights[covered]] = True
    inner[tights[~covered]] = False

    body = model.faces["body"]
    corners = area.shell[body]
    hidden = inner[corners].all(1)
    return body[~hidden]


def _skin(model, shape, rng):
    """The material of the skin: mixed tones, with eyebrows and lips."""
    folder = model.folder / "litspheres"
    spheres = []
    for name, share in shape.traits.race.items():
        spheres.append(share * _sphere(str(folder / f"skinmat_{name}.png")))
    sphere = sum(spheres).astype(np.float32)

    hue = np.array([1, rng.uniform(0.94, 1.03), rng.uniform(0.9, 1.05)])
    tone = hue * rng.uniform(1.05, 1.45)
    brow = rng.uniform(0.25, 0.7)
    lips = np.array([1.0, 0.68, 0.68])

    eye = shape.vertices_m[model.groups["joint-l-eye"]].mean(0)
    mouth = shape.vertices_m[model.groups["joint-mouth"]].mean(0)

    def albedo(rest):
        x = np.abs(rest[:, 0])
        y = rest[:, 1]
        front = rest[:, 2] > eye[2] - 0.005
        beside_eye = np.abs(x - eye[0]) < 0.02
        above_eye = np.abs(y - eye[1] - 0.021) < 0.0035
        brows = beside_eye & above_eye
        in_mouth = np.hypot(x / 0.024, (y - mouth[1]) / 0.008) < 1

        colour = np.tile(tone, (len(rest), 1))
        colour[front & brows] *= brow
        colour[front & in_mouth] *= lips
        return colour

    return Material(albedo, sphere=sphere, gloss=0.03)


def _eye_colour(model, shape):
    eye = shape.vertices_m[model.groups["joint-l-eye"]].mean(0)

    def albedo(rest):
        x = np.abs(rest[:, 0]) - eye[0]
        y = rest[:, 1] - eye[1]
        iris = np.hypot(x, y) < 0.0065
        return np.where(iris[:, None], [0.12, 0.08, 0.05], [0.85, 0.83, 0.8])

    return albedo


@lru_cache(maxsize=8)
def _sphere(path: str):
    """The colours (S, S, 3) float32 RGB of a lit sphere, from a picture."""
    import cv2

    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"body folder: {path} is missing or no picture")

    # As painted it is too dark and red beside photographs
    painted = image[:, :, ::-1].astype(np.float32) / 255
    return painted**0.78


def _middle(value, faces):
    """(F,) mean of a vertex value (V,) over the quad that each triangle is half of, so that hems
    run along the mesh."""
    # The mesh has quads only: triangles come in pairs
    of_triangles = value[faces].mean(1)
    of_quads = of_triangles.reshape(-1, 2).mean(1)
    return of_quads.repeat(2)


def _along(out, model, heads, bones):
    """Write the limb coordinate of the vertices on the first two of three bones into out (V,)."""
    numbers = [model.rig.index(name) for name in bones]
    for k in range(2):
        start = heads[numbers[k]]
        bone = heads[numbers[k + 1]] - start
        mine = model.bone_index[:, 0] == numbers[k]

        share = (model.base_m[mine] - start) @ bone / np.sum(bone**2)
        least = 0.02 if k == 0 else 0.0
        out[mine] = k + np.clip(share, least, 1)


def _nearest(base, model):
    """For each skin vertex the number of the nearest vertex of the tights, or -1 where it is 3 cm
    away or more: hands, neck and head."""
    tights = np.unique(model.faces["helper-tights"])
    shell = base[tights].astype(float)
    shell_square = np.sum(shell**2, axis=1)
    skin = base[model.groups["body"]]
    nearest = np.empty(len(skin), np.int64)

    for start in range(0, len(skin), 500):
        part = skin[start : start + 500].astype(float)
        part_square = np.sum(part**2, axis=1)
        distance2 = part_square[:, None] + shell_square - 2 * part @ shell.T

        best = np.argmin(distance2, axis=1)
        near = distance2[np.arange(len(best)), best] < 0.03**2
        nearest[start : start + 500] = np.where(near, tights[best], -1)

    return nearest
