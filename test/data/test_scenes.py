# SPDX-License-Identifier: Apache-2.0
"""Scenes from a small folder of pictures that the tests draw (see `photos`)."""
import cv2
import numpy as np
import pytest
from photos import png, write_data, write_tar

from lifting_ros.data import crowd_pack, scenes, synthetic
from lifting_ros.data.body import BodyDataError
from lifting_ros.data.crowd_pack import open_crowd_pack, write_crowd_pack
from lifting_ros.data.keypoints2d import PHOTO_SETS, PhotoSet
from lifting_ros.data.negatives import read_negatives
from lifting_ros.data.scene_parts import Cutout, labelled_scene, mirror, move, read_cutouts, tiled, warp
from lifting_ros.data.scenes import KINDS, SMALLEST_PX, SceneSource, crowd_scene
from lifting_ros.data.synthetic_picture import SyntheticPerson, SyntheticSample

WIDTH, HEIGHT = 320, 256


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


class Crowds:
    """Stands for the renderer: two people in every crowd, the second hardly seen."""

    size = (WIDTH, HEIGHT)

    def crowd(self, index: int) -> SyntheticSample:
        people = (self._person(60, 1.0), self._person(200, 0.1))
        image = np.full((HEIGHT, WIDTH, 3), (0, 0, 200), np.uint8)
        for person in people:
            x0, y0, x1, y1 = person.box_px.astype(int)
            image[y0 : y1 + 1, x0 : x1 + 1] = 255
        return SyntheticSample(image, people, np.eye(3), np.array([0, -1, 0]))

    def empty(self, index: int) -> SyntheticSample:
        return SyntheticSample(np.full((HEIGHT, WIDTH, 3), (0, 0, 200), np.uint8), (), np.eye(3), np.array([0, -1, 0]))

    @staticmethod
    def _person(x: float, seen: float) -> SyntheticPerson:
        keypoints = np.column_stack([np.linspace(x, x + 50, 14), np.linspace(60, 200, 14)])
        box = np.concatenate([keypoints.min(0), keypoints.max(0)])
        return SyntheticPerson(keypoints, np.arange(14) > 3, np.arange(14) > 3, box, np.zeros((17, 3)), seen)


@pytest.fixture(scope="module")
def source(data, tmp_path_factory) -> SceneSource:
    folder = tmp_path_factory.mktemp("packs") / "train"
    write_crowd_pack(folder, Crowds, Crowds.size, 3, 2, workers=1)
    return SceneSource(data, lambda: open_crowd_pack(folder, data, "train", Crowds.size, 3, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_scene_is_a_function_of_its_generator_and_whole(source, kind):
    sizes = []
    for seed in range(12):
        scene, again = (source.draw(np.random.default_rng(seed), kind) for _ in range(2))
        assert all(np.array_equal(a, b) for a, b in zip(scene, again))
        assert scene.image.shape == (HEIGHT, WIDTH, 3) and scene.image.dtype == np.uint8 and scene.known.shape == (HEIGHT, WIDTH)
        assert len(scene.boxes) == len(scene.keypoints) and scene.boxes.min(initial=0) >= 0
        assert (scene.boxes <= [WIDTH - 1, HEIGHT - 1] * 2).all()
        sizes += [*(scene.boxes[:, 2:] - scene.boxes[:, :2]).max(-1, initial=0)]
    assert (len(sizes) == 0) == (kind == "nobody")
    assert all(side > 0.35 * SMALLEST_PX for side in sizes)


@pytest.mark.parametrize("kind", ["photograph", "mosaic", "composite"])
def test_labels_lie_on_the_people(source, kind):
    """The tests' keypoints are red dots on white people before blue walls."""
    on, of = 0, 0
    for seed in range(12):
        scene = getattr(source, kind)(np.random.default_rng(seed))
        for x, y, _ in scene.keypoints.reshape(-1, 3):
            if 1 <= x < WIDTH - 2 and 1 <= y < HEIGHT - 2:
                colour = scene.image[int(round(y)), int(round(x))].astype(int)
                on, of = on + (colour[0] > colour[2] - 20), of + 1
    assert of > 50 and on / of > (0.97 if kind != "composite" else 0.6)  # in a composite others stand before them


class Coloured:
    """Cut-out people who all but fill their boxes, each of a colour of its own, which the labels' weights tell, too."""

    def __init__(self, count: int):
        corners = np.array([[5.0, 5], [44, 74]])
        self.people = []
        for n in range(1, count + 1):
            image, mask = np.full((80, 50, 3), (n, 255, 0), np.uint8), np.zeros((80, 50), np.uint8)
            mask[7:73, 7:43] = 255  # two pixels within
            self.people.append(Cutout(image, mask, np.column_stack([corners[np.arange(14) % 2], np.full(14, n / 256)])))

    @staticmethod
    def shown(scene) -> dict[int, np.ndarray]:
        """Where each person is seen, (H, W) bool by its colour."""
        of = np.where((scene.image[..., 1] == 255) & (scene.image[..., 2] == 0), scene.image[..., 0], 0)
        return {int(n): of == n for n in np.unique(of) if n}


def test_who_is_mostly_covered_is_neither_there_nor_absent_and_who_is_seen_is_there(source, monkeypatch):
    monkeypatch.setattr(scenes, "recolour", lambda image, rng: image)
    monkeypatch.setattr(source, "cutouts", Coloured(200).people)
    covered = 0
    for seed in range(40):
        people = 1 if seed % 4 == 0 else 6
        scene = source.composite(np.random.default_rng(seed), people)
        shown, counted = Coloured.shown(scene), {round(256 * k[0, 2]): k for k in scene.keypoints}
        for n, keypoints in counted.items():
            area = np.prod(np.ptp(keypoints[:, :2], axis=0))
            assert shown[n].sum() > 0.24 * area  # LEAST_SEEN, less the rim and a rough outline
        for n in set(shown) - set(counted):
            covered += 1
            assert not (scene.known & shown[n]).any()
    assert covered > 10


def test_who_stands_alone_before_nothing_is_there_and_behind_a_patch_is_not(source, monkeypatch):
    monkeypatch.setattr(scenes, "recolour", lambda image, rng: image)
    monkeypatch.setattr(source, "cutouts", Coloured(9).people)
    there = []
    for patched in (False, True):
        monkeypatch.setattr(scenes, "patch", lambda size, rng, patched=patched: np.full(size[::-1], patched))
        for seed in range(20):
            scene = source.composite(np.random.default_rng(seed), 1)
            (shown,) = Coloured.shown(scene).values() or (np.zeros((HEIGHT, WIDTH), bool),)
            inside = shown.any() and not np.concatenate([shown[[0, -1]].ravel(), shown[:, [0, -1]].ravel()]).any()
            assert len(scene.boxes) == 1 if inside else shown.any() or not len(scene.boxes)
            there.append(inside)
    assert 5 < sum(there[:20]) and sum(there[20:]) < sum(there[:20])


@pytest.mark.parametrize("side", ["train", "validation"])
def test_scenes_of_a_side_are_put_together_of_that_side_alone(data, side):
    """The tests' sets hold twelve photographs: the ninth validates, but of `lspet`, where those from 7200 on do, and of `gym`, whose
    exercise is none that validates."""
    source, last = SceneSource(data, None, side=side), side == "validation"
    drawn, ninth = {(photos.name, index) for photos, index in source.photos}, {("street", 8), ("people", 8)}
    assert drawn == (ninth if last else {(name, index) for name in PHOTO_SETS for index in range(12)} - ninth)
    assert len(source.cutouts) == len(drawn) and len(source.empty) == (1 if last else 11)
    assert source.kind_shares[KINDS.index("rendered")] == 0 and source.kind_shares.sum() == pytest.approx(1)
    assert (np.delete(source.kind_shares, KINDS.index("rendered")) > 0).all()


@pytest.mark.parametrize("side", ["train", "tune", "validation"])
def test_rendered_crowds_of_a_side_have_its_people_its_backgrounds_and_chances_of_their_own(data, monkeypatch, side):
    asked = []
    monkeypatch.setattr(synthetic, "SyntheticPeople", lambda *args: asked.append(args))
    crowd_pack.crowd_source(data, side, (32, 24))
    crowd_pack.crowd_source(data, "tune" if side == "train" else "train", (32, 24))
    (_, _, backgrounds, seed, size, subjects), other = asked
    assert subjects == ("validation" if side == "validation" else "training") and size == (32, 24) and seed != other[3]
    expected = read_negatives(data / "negatives", side)
    assert len(backgrounds) == len(expected) and all(map(np.array_equal, backgrounds, expected))


def test_absences_are_unknown_far_from_the_one_labelled_person_of_a_photograph(source):
    known = [source.photograph(np.random.default_rng(seed)).known.mean() for seed in range(20)]
    assert min(known) < 0.95 and max(known) > 0.5
    drawn = [source.photograph(np.random.default_rng(seed)) for seed in range(40)]
    small = [s.known.mean() for s in drawn if len(s.boxes) and np.ptp(s.keypoints[0, :, 1]) < 60]
    assert len(small) > 5 and min(small) > 0.9  # beyond the photograph is a picture of nobody
    assert source.nobody(np.random.default_rng(0)).known.all()


def test_a_hidden_person_is_neither_there_nor_absent(source):
    scene = source.rendered(np.random.default_rng(1))
    assert len(scene.boxes) == 1 and not scene.known.all()
    assert (scene.image[~scene.known] > 200).mean() > 0.9  # the white of the one who does not count


def test_boxes_of_rendered_people_take_hidden_keypoints_too():
    keypoints = np.dstack([np.linspace([20, 30], [60, 130], 14)[None], np.zeros((1, 14, 1))])
    scene = crowd_scene(np.zeros((HEIGHT, WIDTH, 3), np.uint8), keypoints, np.ones(1))
    np.testing.assert_allclose(scene.boxes, [[20, 30, 60, 130]])


def test_a_person_almost_outside_is_not_to_be_found_nor_said_to_be_absent():
    keypoints = np.dstack([np.linspace([-60, 30], [10, 130], 14)[None], np.ones((1, 14, 1))])
    scene = labelled_scene(np.zeros((HEIGHT, WIDTH, 3), np.uint8), keypoints, [True], np.ones((HEIGHT, WIDTH), bool))
    assert not len(scene.boxes) and not scene.known[80, 5] and scene.known[80, 50]


def test_tiles_stand_side_by_side(source):
    scene = source.rendered(np.random.default_rng(0))
    both = tiled([scene, mirror(scene)], 2)
    assert both.image.shape == (HEIGHT, 2 * WIDTH, 3)
    np.testing.assert_allclose(mirror(both).boxes[::-1], both.boxes)


@pytest.mark.parametrize("scale", [0.15, 0.4, 0.9, 2.0])
def test_shrinking_moves_pictures_as_it_moves_keypoints(scale):
    image = np.zeros((256, 256), np.uint8)
    cv2.circle(image, (150, 90), 20, 255, -1)
    turned = cv2.getRotationMatrix2D((128, 128), 30, scale) + np.array([[0, 0, 20], [0, 0, 40]])
    y, x = np.nonzero(small := warp(image, turned, (320, 320)))
    weight = small[y, x].astype(float)
    expected = move(np.array([[[150.0, 90, 1]]]), turned)[0, 0, :2]
    np.testing.assert_allclose([np.average(x, weights=weight), np.average(y, weights=weight)], expected, atol=0.25)


def test_keypoints_of_a_cutout_lie_where_they_lay(tmp_path):
    """A picture at half size: what was at a pixel's centre is a quarter of a pixel off its own half. Who has no mask is left out."""
    image, x, y = np.zeros((80, 60, 3), np.uint8), 21, 40
    cv2.circle(image, (x, y), 8, (255, 255, 255), -1)
    write_tar(tmp_path / "masks.tar", {"a.png": png(image[..., 0])})
    np.savez(tmp_path / "annotations.npz", has_mask=np.array([True, False]))
    street = PhotoSet("street", ("a.jpg", "b.jpg"), (png(image),) * 2, np.tile(np.float32([x, y, 1]), (2, 14, 1)), np.zeros(2, bool))
    (cutout,) = read_cutouts(tmp_path, street, np.ones(2, bool))
    for shown in (cutout.image[..., 0], cutout.mask):
        row, column = np.nonzero(shown)
        weight = shown[row, column].astype(float)
        centre = np.average(column, weights=weight), np.average(row, weights=weight)
        np.testing.assert_allclose(cutout.keypoints[:, :2], np.tile(centre, (14, 1)), atol=0.02)


def test_photographs_are_read_before_anything_is_rendered(tmp_path):
    data, asked = write_data(tmp_path / "data"), []
    (data / "negatives" / "names.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="names.npz: not a readable .npz"):
        SceneSource(data, lambda: asked.append("rendered"))
    assert not asked


def test_a_source_without_rendered_pictures_draws_the_rest(data):
    source = SceneSource(data, None)
    assert all(source.draw(np.random.default_rng(seed)).image.shape == (HEIGHT, WIDTH, 3) for seed in range(8))


def test_a_pack_of_an_older_version_is_made_again_and_one_that_tells_none_is_kept(tmp_path, data, monkeypatch):
    made = []
    monkeypatch.setattr(crowd_pack, "crowd_source", lambda *_: made.append("again") or Crowds())
    write_crowd_pack(tmp_path / "p", Crowds, Crowds.size, 2, 1, workers=1)
    labels = dict(np.load(tmp_path / "p" / "labels.npz"))
    np.savez(tmp_path / "p" / "labels.npz", **{name: values for name, values in labels.items() if name != "version"})
    monkeypatch.setattr("lifting_ros.data.synthetic_pack.os.sched_getaffinity", lambda _: {0})  # rendered here, where the stand-in is
    open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 2, 1)
    assert not made
    np.savez(tmp_path / "p" / "labels.npz", **labels | {"version": 0})
    assert open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 2, 1).picture.tolist() == [0, 0, 1, 1] and made


def test_a_pack_of_as_many_pictures_but_fewer_crowds_is_refused(tmp_path, data):
    write_crowd_pack(tmp_path / "p", Crowds, Crowds.size, 2, 1, workers=1)
    with pytest.raises(ValueError, match="nobody is expected: remove it"):
        open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 1, 2)


def test_a_pack_that_was_not_finished_is_no_pack(tmp_path, data):
    write_crowd_pack(tmp_path / "p", Crowds, Crowds.size, 2, 1, workers=1)
    pack = open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 2, 1)
    assert pack.picture.tolist() == [0, 0, 1, 1] and pack.seen.shape == (4,) and pack.images.shape == (3, HEIGHT, WIDTH, 3)
    with pytest.raises(ValueError, match="remove it"):
        open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 5, 1)
    (tmp_path / "p" / "labels.npz").unlink()
    with pytest.raises(BodyDataError, match="missing"):  # rendered anew, for which the tests' folder has no body
        open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 2, 1)
