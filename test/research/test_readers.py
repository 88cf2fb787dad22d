# SPDX-License-Identifier: Apache-2.0
"""What is damaged, foreign or of another shape is told in one line that names the file; teachers
never touch what is measured against."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from photos import png, write_data, write_tar

from lifting_ros.cli.main import main
from lifting_ros.io.arrays import read_arrays, read_images
from lifting_ros.research.datasets import made_once, pack
from lifting_ros.research.datasets.crowd_pack import open_crowd_pack
from lifting_ros.research.datasets.keypoints2d import photo_sets_in, read_photo_set, read_tar
from lifting_ros.research.datasets.label_doubt import TRUSTED_SPREAD
from lifting_ros.research.datasets.made_once import make_once, version_of
from lifting_ros.research.datasets.mocap import read_mocap
from lifting_ros.research.datasets.negatives import negative_names, read_negatives
from lifting_ros.research.datasets.pack import open_or_write, open_packs, read_pack, write_windows
from lifting_ros.research.evaluation.synthetic_people import read_rendered
from lifting_ros.research.rendering.synthetic_pack import VERSION, save_labels
from lifting_ros.skeleton import KEYPOINT_NAMES, LSP_TO_KEYPOINT

LIMIT_S = 600
"""Against hanging only."""


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path: Path) -> None:
    path.write_bytes(b"<html>not found</html>" * 50)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def pickled(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(
            file,
            keypoints=np.array([{}], object),
            names=np.array([{}], object),
            positions=np.array([{}], object),
        )


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


DAMAGES = (half, foreign, emptied, pickled, one_array)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A data folder, and a pack of windows `p`."""
    root = write_data(tmp_path_factory.mktemp("data"))
    windows = ((np.full((16, 16, 3), n, np.uint8), np.ones((14, 3), np.float32)) for n in range(4))
    write_windows(root / "p", windows, np.arange(4) > 2, 16)
    (root / "mocap").mkdir()
    np.savez(root / "mocap" / "m.npz", positions=np.zeros((8, 17, 3)), subject_id=np.zeros(8, int))
    return root


@pytest.fixture
def data(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "data"))


READERS = {
    "p/labels.npz": lambda root: read_pack(root / "p"),
    "p/images.npy": lambda root: read_pack(root / "p"),
    "keypoints2d/gym/annotations.npz": lambda root: read_photo_set(root / "keypoints2d", "gym"),
    "keypoints2d/gym/images.tar": lambda root: read_photo_set(root / "keypoints2d", "gym"),
    "negatives/names.npz": lambda root: pack.write_negative_pack(root / "n", root / "negatives"),
    "mocap/m.npz": lambda root: read_mocap(root / "mocap" / "m.npz"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", READERS)
def test_a_damaged_file_is_named_in_one_line(data, file, damage):
    if file.endswith("images.npy") and damage is one_array:
        np.save(data / file, np.zeros((4, 16, 16, 3)))  # not of bytes
    else:
        damage(data / file)
    with pytest.raises(ValueError) as error:
        READERS[file](data)
    assert str(data / file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("file", READERS)
def test_a_file_that_is_not_there_is_named(data, file):
    (data / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{Path(file).name}: no such file"):
        READERS[file](data)


def test_an_array_that_is_missing_or_of_another_shape_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros((3, 2)), b=np.zeros(3))
    expected = {"a": ("N", 2), "b": ("N",)}
    assert sorted(read_arrays(tmp_path / "a.npz", expected)) == ["a", "b"]
    for shapes, text in (
        ({"c": ("N",)}, "a.npz: c is missing"),
        ({"a": ("N", 3)}, r"a.npz: a: expected \(N, 3\), got \(3, 2\)"),
        ({"a": ("M", "N"), "b": ("N",)}, r"a.npz: b: expected \(2,\), got \(3,\)"),
        ({"b": ()}, r"a.npz: b: expected \(\), got \(3,\)"),
    ):
        with pytest.raises(ValueError, match=text):
            read_arrays(tmp_path / "a.npz", shapes)
    with pytest.raises(ValueError, match=r"a.npz: a: expected \(4, 2\)"):
        read_arrays(tmp_path / "a.npz", {}, {"a": (4, 2), "missing": (1,)})
    with pytest.raises(ValueError, match="a.npz: not a readable .npy"):
        read_images(tmp_path / "a.npz")


def test_a_pack_whose_files_do_not_fit_each_other_is_refused(data):
    np.save(data / "p" / "images.npy", np.zeros((3, 16, 16, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"images.npy: pictures: expected \(4, H, W, 3\), got \(3, 16, 16, 3\)"
    ):
        read_pack(data / "p")


def test_photographs_that_the_archive_lacks_are_named(data):
    folder = data / "keypoints2d" / "gym"
    write_tar(folder / "images.tar", dict(list(read_tar(folder / "images.tar").items())[:5]))
    with pytest.raises(ValueError, match="images.tar: A0005.png is missing"):
        read_photo_set(data / "keypoints2d", "gym")


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a nothing", png(np.zeros((9, 9, 3), np.uint8))[:30]]
)
def test_a_photograph_that_is_none_is_named(data, content):
    folder = data / "keypoints2d" / "gym"
    write_tar(folder / "images.tar", read_tar(folder / "images.tar") | {"A0003.png": content})
    photos = read_photo_set(data / "keypoints2d", "gym")
    with pytest.raises(ValueError, match="gym/A0003.png: not a readable image"):
        photos.image(3)


def test_validation_labels_are_untouched_by_teachers(data):
    """A teacher that is unsure of all and contradicts most: training labels count less, validation
    labels stay as they were."""
    rng, order = np.random.default_rng(0), list(LSP_TO_KEYPOINT)
    for name, second in (("people", False), ("street", True)):
        folder = data / "keypoints2d" / name
        arrays = dict(np.load(folder / "annotations.npz"))
        joints = arrays["joints"][:, order]
        spread = np.full((12, 14), 0.1, np.float32)
        if second:
            moved = arrays["joints"] + np.float32([1, 1, 0]) * rng.normal(
                0, 200, (12, 14, 3)
            ).astype(np.float32)
            np.savez(folder / "teacher.npz", joints=moved, spread=spread, reason=np.full(12, ""))
        else:
            np.savez(folder / "annotations.npz", **arrays, spread=spread)
        photos = read_photo_set(data / "keypoints2d", name)
        validation = photos.validation
        assert validation.tolist() == [n == 8 for n in range(12)]
        np.testing.assert_array_equal(photos.keypoints[validation], joints[validation])
        assert (photos.keypoints[~validation][..., 2] < 1).mean() > 0.3


def make_votes(joints: np.ndarray) -> dict[str, np.ndarray]:
    """Votes on labels (12, 14, 3) in LSP's order: the first row has three labels alone, the third
    no left wrist in the picture."""
    rng = np.random.default_rng(0)
    voted = joints.copy()
    voted[0, 3:] = 0
    absent = np.zeros((12, 14), bool)
    absent[2, LEFT_WRIST] = True
    voted[absent] = 0
    agree = rng.integers(3, 5, (12, 14))
    spread = rng.uniform(0, 0.1, (12, 14))
    spread[1, 0] = np.nan
    return {"joints": voted, "agree": agree, "spread": spread, "absent": absent}


LEFT_WRIST = 11
"""Its place in LSP's order, in which files are."""


def add_votes(root: Path, name: str) -> dict[str, np.ndarray]:
    """Votes where a set has them: in the annotations of `scenes`, else beside them."""
    folder = root / "keypoints2d" / name
    annotations = dict(np.load(folder / "annotations.npz"))
    votes = make_votes(annotations["joints"])
    if name == "scenes":
        np.savez(folder / "annotations.npz", **annotations | votes)
    else:
        votes["joints"][..., :2] += 1 * (votes["joints"][..., 2:] > 0)
        np.savez(folder / "votes.npz", **votes)
    return votes


@pytest.mark.parametrize("name", ["scenes", "street"])
def test_labels_by_vote_weigh_what_their_voters_say(data, name):
    votes, order = add_votes(data, name), list(LSP_TO_KEYPOINT)
    photos = read_photo_set(data / "keypoints2d", name)
    joints = votes["joints"][1:, order]
    assert photos.files == tuple(
        f"A{n:04}.png" for n in range(1, 12)
    )  # the first has too few labels
    assert photos.validation.tolist() == [n == 8 for n in range(1, 12)]
    np.testing.assert_array_equal(photos.keypoints[..., :2], joints[..., :2])

    spread = np.nan_to_num(votes["spread"], nan=np.inf)
    weight = (votes["agree"] / 4 / (1 + (spread / TRUSTED_SPREAD) ** 2))[1:, order]
    weight[photos.validation] = 1
    np.testing.assert_allclose(photos.keypoints[..., 2], joints[..., 2] * weight, rtol=1e-5)
    assert 0.3 < photos.keypoints[~photos.validation][..., 2].mean() < 0.9


@pytest.mark.parametrize("name", ["scenes", "street"])
def test_votes_say_what_is_not_in_the_picture(data, name, tmp_path):
    add_votes(data, name)
    photos = read_photo_set(data / "keypoints2d", name)
    assert np.argwhere(photos.absent).tolist() == [[1, KEYPOINT_NAMES.index("left_wrist")]]
    assert not photos.keypoints[photos.absent].any()
    packs = {p.name: p for p in open_packs(data, tmp_path / "packs", 32)}
    np.testing.assert_array_equal(packs[name].absent, photos.absent)
    assert packs["gym"].absent is None and len(packs[name].images) == 11


def test_votes_count_and_a_single_teacher_does_not(data):
    folder = data / "keypoints2d" / "street"
    add_votes(data, "street")
    before = read_photo_set(folder.parent, "street").keypoints
    joints = np.load(folder / "annotations.npz")["joints"] + np.float32([50, 0, 0])
    np.savez(
        folder / "teacher.npz", joints=joints, spread=np.zeros((12, 14)), reason=np.full(12, "")
    )
    np.testing.assert_array_equal(read_photo_set(folder.parent, "street").keypoints, before)


@pytest.mark.parametrize(("name", "file"), [("scenes", "annotations.npz"), ("street", "votes.npz")])
def test_votes_that_lack_something_are_named(data, name, file):
    add_votes(data, name)
    path = data / "keypoints2d" / name / file
    arrays = dict(np.load(path))
    np.savez(path, **{key: value for key, value in arrays.items() if key != "absent"})
    with pytest.raises(ValueError, match=f"{file}: absent is missing"):
        read_photo_set(data / "keypoints2d", name)
    np.savez(path, **arrays | {"agree": arrays["agree"][:5]})
    with pytest.raises(ValueError, match=rf"{file}: agree: expected \(12, 14\), got \(5, 14\)"):
        read_photo_set(data / "keypoints2d", name)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_votes_are_named_in_one_line(data, damage):
    add_votes(data, "street")
    path = data / "keypoints2d" / "street" / "votes.npz"
    damage(path)
    with pytest.raises(ValueError) as error:
        read_photo_set(data / "keypoints2d", "street")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_set_that_brings_its_own_split_keeps_it(data):
    own = np.arange(12) % 5 == 2
    for path in (
        data / "keypoints2d" / "people" / "annotations.npz",
        data / "negatives" / "names.npz",
    ):
        np.savez(path, **np.load(path), validation=own)
    assert read_photo_set(data / "keypoints2d", "people").validation.tolist() == own.tolist()
    assert negative_names(data / "negatives")[1].tolist() == own.tolist()
    assert len(read_negatives(data / "negatives", "validation")) == own.sum()


def test_packs_keep_the_split_of_their_sets(data, tmp_path):
    own = np.arange(12) % 5 == 2
    path = data / "keypoints2d" / "people" / "annotations.npz"
    np.savez(path, **np.load(path), validation=own)
    split = {p.name: p.validation.tolist() for p in open_packs(data, tmp_path / "packs", 32)}
    ninth = [n == 8 for n in range(12)]
    expected = {
        "lspet": [False] * 12,
        "street": ninth,
        "gym": [False] * 12,
        "people": own.tolist(),
        "scenes": ninth,
        "negatives": ninth,
    }
    assert split == expected


def test_sets_that_are_not_there_are_left_out(data, tmp_path):
    shutil.rmtree(data / "keypoints2d" / "lspet")
    assert photo_sets_in(data / "keypoints2d") == ["street", "gym", "people", "scenes"]
    assert [p.name for p in open_packs(data, tmp_path / "packs", 32)] == [
        "street",
        "gym",
        "people",
        "scenes",
        "negatives",
    ]
    with pytest.raises(
        FileNotFoundError, match="expected a folder named lspet, street, gym, people or scenes"
    ):
        photo_sets_in(data)


def test_data_with_a_licence_keeps_the_split_and_nothing_else(data, tmp_path, monkeypatch):
    """Two people of twelve have a licence statement, one of them validates.

    LSPET and the scenes have none, nor have ten of the empty pictures.
    """
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    from licensed_data import write_licensed

    for folder, file, begins in (
        ("keypoints2d/people", "annotations.npz", "yoga_"),
        ("negatives", "names.npz", "sample_"),
    ):
        arrays, images = dict(np.load(data / folder / file)), read_tar(data / folder / "images.tar")
        names = [
            (begins if n in (3, 8) else "traffic_") + str(name)
            for n, name in enumerate(arrays["names"])
        ]
        write_tar(
            data / folder / "images.tar",
            {new: images[str(old)] for new, old in zip(names, arrays["names"])},
        )
        np.savez(data / folder / file, **arrays | {"names": np.array(names)})
    counts = write_licensed(data, tmp_path / "licensed")
    assert counts == {"lspet": 0, "street": 12, "gym": 12, "people": 2, "scenes": 0, "negatives": 2}
    assert photo_sets_in(tmp_path / "licensed" / "keypoints2d") == ["street", "gym", "people"]
    whole, part = (
        read_photo_set(root / "keypoints2d", "people") for root in (data, tmp_path / "licensed")
    )
    assert part.files == tuple(whole.files[n] for n in (3, 8)) and part.validation.tolist() == [
        False,
        True,
    ]
    np.testing.assert_array_equal(part.keypoints, whole.keypoints[[3, 8]])
    empty = [
        read_negatives(root / "negatives", "validation") for root in (data, tmp_path / "licensed")
    ]
    np.testing.assert_array_equal(*empty)


@pytest.mark.parametrize(
    ("folder", "file", "licensed", "none"),
    [
        (
            "keypoints2d/people",
            "annotations.npz",
            ("yoga_", "sample_"),
            ("fall_", "plaza_", "portrait_", "traffic_"),
        ),
        ("negatives", "names.npz", ("sample_",), ("house_", "traffic_")),
    ],
)
def test_every_photograph_without_a_licence_statement_goes(  # noqa: PLR0913 - cases and fixtures
    data, tmp_path, monkeypatch, folder, file, licensed, none
):
    """The names are those of the data's README. What is left and its split, which is now its own,
    stay when the same is asked of it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    from licensed_data import write_licensed

    arrays, images, begins = (
        dict(np.load(data / folder / file)),
        read_tar(data / folder / "images.tar"),
        [*licensed, *none],
    )
    names = [begins[n % len(begins)] + str(name) for n, name in enumerate(arrays["names"])]
    write_tar(
        data / folder / "images.tar",
        {new: images[str(old)] for new, old in zip(names, arrays["names"])},
    )
    np.savez(
        data / folder / file,
        **arrays | {"names": np.array(names), "validation": np.arange(12) % 4 == 1},
    )
    stay = [n for n, name in enumerate(names) if name.startswith(licensed)]
    for source, out in ((data, tmp_path / "once"), (tmp_path / "once", tmp_path / "twice")):
        assert write_licensed(source, out)[Path(folder).name] == len(stay)
        left = np.load(out / folder / file)
        assert left["names"].tolist() == [names[n] for n in stay] and left[
            "validation"
        ].tolist() == [n % 4 == 1 for n in stay]


@pytest.mark.parametrize("votes", [False, True])
def test_licensed_rows_keep_what_teachers_say(data, tmp_path, monkeypatch, votes):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    from licensed_data import write_licensed

    folder = data / "keypoints2d" / "people"
    arrays, images = dict(np.load(folder / "annotations.npz")), read_tar(folder / "images.tar")
    names = [("plaza_" if n < 5 else "yoga_") + str(name) for n, name in enumerate(arrays["names"])]
    write_tar(
        folder / "images.tar", {new: images[str(old)] for new, old in zip(names, arrays["names"])}
    )
    np.savez(folder / "annotations.npz", **arrays | {"names": np.array(names)})
    spread = np.linspace(0, 0.3, 12)[:, None].repeat(14, 1)
    np.savez(
        folder / "teacher.npz",
        joints=arrays["joints"] + np.float32([40, 0, 0]),
        spread=spread,
        reason=np.full(12, ""),
    )
    if votes:
        np.savez(
            folder / "votes.npz",
            **make_votes(arrays["joints"]) | {"absent": np.eye(12, 14, dtype=bool)},
        )
    write_licensed(data, tmp_path / "licensed")
    whole, part = (
        read_photo_set(root / "keypoints2d", "people") for root in (data, tmp_path / "licensed")
    )
    kept = [name.startswith("yoga_") for name in whole.files]
    assert (
        part.files == tuple(name for name in whole.files if name.startswith("yoga_"))
        and len(part.files) == 7
    )
    np.testing.assert_array_equal(part.keypoints, whole.keypoints[kept])
    assert (part.keypoints[..., 2] < 1).any()
    if votes:
        np.testing.assert_array_equal(part.absent, whole.absent[kept])
        assert (
            len(np.load(tmp_path / "licensed" / "keypoints2d" / "people" / "votes.npz")["agree"])
            == 7
        )


def test_the_command_says_it_in_one_line(data, tmp_path, capsys):
    half(data / "keypoints2d" / "street" / "images.tar")
    options = [
        "--data",
        str(data),
        "--work",
        str(tmp_path / "work"),
        "--out",
        str(tmp_path / "o.safetensors"),
    ]
    assert main(["train", "lite", *options]) == 2
    said = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("lifting train:")
    ]
    assert (
        len(said) == 1
        and "street/images.tar" in said[0]
        and not (tmp_path / "o.safetensors").exists()
    )


def test_other_kinds_of_packs_are_refused(data):
    with pytest.raises(
        ValueError, match="not a pack of rendered people .*joints_camera_m is missing"
    ):
        read_rendered(data / "p", 4)
    save_labels(data / "p", {"keypoints": np.zeros((4, 14, 3))})
    with pytest.raises(ValueError, match="labels.npz: picture is missing"):
        open_crowd_pack(data / "p", data, "train", (16, 16), 4, 0)


def test_packs_of_another_version_are_made_again(data):
    def write(folder):
        made.append(folder)
        write_windows(folder, [], np.zeros(0, bool), 8)

    made = []
    assert len(open_or_write(data / "p", write).images) == 4 and not made
    np.savez(
        data / "p" / "labels.npz",
        keypoints=np.zeros((4, 14, 3)),
        validation=np.zeros(4, bool),
        version=pack.VERSION - 1,
    )
    assert open_or_write(data / "p", write).images.shape == (0, 8, 8, 3) and len(made) == 1


def test_rendered_pack_has_a_version_default_first(tmp_path):
    assert version_of(tmp_path) is None
    np.savez(tmp_path / "labels.npz", keypoints=np.zeros(0))
    assert version_of(tmp_path) == VERSION == 1
    save_labels(tmp_path, {"keypoints": np.zeros(0)})
    assert int(np.load(tmp_path / "labels.npz")["version"]) == VERSION


def test_pack_is_made_once_by_two_processes(tmp_path, monkeypatch):
    """The second has seen that there is no pack before the first is ready, and must not make it,
    too."""
    folder, asked, made, go_on = tmp_path / "p", threading.Semaphore(0), [], threading.Event()

    def version_seen(folder):
        version = version_of(folder)
        asked.release()
        return version

    def write(folder):
        made.append(folder)
        folder.mkdir(exist_ok=True)
        assert go_on.wait(LIMIT_S)
        save_labels(folder, {})

    monkeypatch.setattr(made_once, "version_of", version_seen)
    both = [threading.Thread(target=make_once, args=(folder, VERSION, write)) for _ in range(2)]
    for thread in both:
        thread.start()
    assert all(
        asked.acquire(timeout=LIMIT_S) for _ in range(3)
    )  # one twice, before and after it has the lock; the other once
    go_on.set()
    for thread in both:
        thread.join(LIMIT_S)
    assert len(made) == 1 and version_of(folder) == VERSION
