# SPDX-License-Identifier: Apache-2.0
"""`lifting estimate` and `lifting detect`: their file contracts on the clip that ships, and bad
input."""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "ros"))  # for the import below

import conftest_ros  # noqa: F401
from matroska import write_video

import lifting_ros
from lifting_ros.cli import estimate
from lifting_ros.cli.main import main
from lifting_ros.cli.overlay_writer import chosen
from lifting_ros.estimator import Estimate, EstimatorConfig
from lifting_ros.io.camera_files import read_camera_file
from lifting_ros.io.images import open_source

PACKAGE = Path(lifting_ros.__file__).parent
CLIP = PACKAGE / "demo" / "walk_and_sit.mp4"
needs_weights = pytest.mark.skipif(
    not (
        (PACKAGE / "weights" / "full.safetensors").is_file()
        and (PACKAGE / "weights" / "detector.safetensors").is_file()
    ),
    reason="the weights are not there",
)
needs_clip = pytest.mark.skipif(not CLIP.is_file(), reason="the demo clip is not there")


@pytest.fixture(scope="module")
def truth():
    """True keypoints (F, 14, 2) px and joints (F, 17, 3) m of the clip's frames; NaN where nobody
    is there."""
    with np.load(CLIP.with_name("walk_and_sit_truth.npz"), allow_pickle=False) as file:
        return file["keypoints_px"], file["joints_m"]


@pytest.fixture(scope="module")
def images(tmp_path_factory, truth):
    """Two images of the clip with the whole person in view, one with nobody, and their frame
    numbers."""
    folder, keypoints = tmp_path_factory.mktemp("images"), truth[0]
    inside = np.flatnonzero(((keypoints > 5) & (keypoints < [635, 475])).all((1, 2)))
    numbers = [int(inside[len(inside) // 3]), int(inside[len(inside) // 2]), 0]
    frames = list(open_source(str(CLIP)).frames())
    for place, number in enumerate(numbers):
        cv2.imwrite(str(folder / f"{place}.png"), frames[number][..., ::-1])
    return folder, numbers


@needs_weights
@needs_clip
def test_detect_finds_the_person_where_there_is_one(images, truth, tmp_path):
    folder, numbers = images
    out = tmp_path / "keypoints.npz"
    assert main(["detect", *(str(folder / f"{k}.png") for k in range(3)), "--out", str(out)]) == 0
    found = np.load(out, allow_pickle=False)
    assert found["image_index"].tolist() == [0, 1]
    assert {name: found[name].shape for name in found.files} == {
        "image_index": (2,),
        "box_px": (2, 4),
        "score": (2,),
        "keypoints_px": (2, 14, 2),
        "confidence": (2, 14),
        "keypoint_covariance_px2": (2, 14, 2, 2),
    }
    expected = truth[0][numbers[:2]]
    heights = np.ptp(expected[..., 1], axis=1)
    error = np.linalg.norm(found["keypoints_px"] - expected, axis=-1)
    assert (np.median(error, axis=1) < 0.1 * heights).all()


@needs_weights
@needs_clip
def test_blur_faces_hides_the_head_in_the_overlay(images, truth, tmp_path, monkeypatch):
    folder, numbers = images
    shown = []
    monkeypatch.setattr(
        "lifting_ros.cli.overlay_writer.Sheet.add",
        lambda self, index, image, persons: shown.append(image),
    )
    source = str(folder / "0.png")
    words = ["estimate", source, "--out", str(tmp_path / "o.npz"), "--overlay", "o.png"]
    monkeypatch.chdir(tmp_path)
    assert main(words) == main([*words, "--blur-faces"]) == 0
    plain, hidden = shown
    assert np.array_equal(plain, cv2.imread(source)[..., ::-1])

    top, neck = truth[0][numbers[0], :2]
    x, y = np.rint((top + neck) / 2).astype(int)
    head = np.s_[y - 6 : y + 7, x - 6 : x + 7]
    changed = (plain != hidden).any(-1)
    assert changed[head].mean() > 0.9 and changed.mean() < 0.1
    assert not changed[round(neck[1]) + 80 :].any()


@needs_weights
@needs_clip
def test_stages_are_a_picture_of_one_image(images, tmp_path, capsys):
    folder, _ = images
    out, picture = tmp_path / "o.npz", tmp_path / "stages.png"
    words = ["--out", str(out), "--stages", str(picture)]
    assert main(["estimate", str(folder / "0.png"), *words]) == 0
    drawn = cv2.imread(str(picture))
    rows = 3  # stages
    assert drawn.shape[1] == 3 * 256 and drawn.shape[0] % rows == 0
    assert (np.ptp(drawn.astype(int), axis=-1) > 60).any()

    # Nobody is there
    picture.unlink()
    capsys.readouterr()
    assert main(["estimate", str(folder / "2.png"), *words]) == 0
    assert "--stages: nobody is found" in capsys.readouterr().err and not picture.exists()


@needs_clip
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--stages", "s.png"], "--stages: only with a single image"),
        (["--stages", "s.jpg"], "--stages s.jpg: expected a name that ends in .png"),
        (["--stages", "s.png", "--overlay", "o.png", "--blur-faces"], "--blur-faces: not with"),
    ],
)
def test_stages_of_something_else_are_refused(tmp_path, monkeypatch, capsys, words, line):
    monkeypatch.chdir(tmp_path)
    assert main(["estimate", str(CLIP), "--out", "o.npz", *words]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and line in told[0]
    assert not list(tmp_path.iterdir())


@needs_weights
@needs_clip
def test_estimate_places_the_person_in_metres(images, truth, tmp_path):
    folder, numbers = images
    out, sheet = tmp_path / "persons.npz", tmp_path / "sheet.png"
    camera = str(CLIP.with_suffix(".yaml"))
    assert (
        main(
            [
                "estimate",
                str(folder),
                "--out",
                str(out),
                "--camera",
                camera,
                "--overlay",
                str(sheet),
            ]
        )
        == 0
    )
    found = np.load(out, allow_pickle=False)
    assert found["frame_index"].tolist() == [0, 1] and found["frame_count"] == 3
    assert found["stamp_ns"].tolist() == [0, 10**8]
    assert (
        found["metric"].all()
        and found["track_id"].shape == (2,)
        and found["status"].dtype == np.uint8
    )
    distance = np.linalg.norm(truth[1][numbers[:2], 0], axis=-1)
    assert (np.abs(np.linalg.norm(found["root_m"], axis=-1) / distance - 1) < 0.3).all()
    assert cv2.imread(str(sheet)) is not None


@needs_weights
@needs_clip
def test_estimate_writes_a_bag_with_what_the_table_says(images, tmp_path):
    table, bag, again = (tmp_path / name for name in ("persons.npz", "persons.mcap", "again.npz"))
    for out in (table, bag):
        assert (
            main(
                [
                    "estimate",
                    str(images[0]),
                    "--out",
                    str(out),
                    "--camera",
                    str(CLIP.with_suffix(".yaml")),
                ]
            )
            == 0
        )
    assert main(["poses", str(bag), "--out", str(again)]) == 0
    expected, found = (np.load(path, allow_pickle=False) for path in (table, again))
    assert (
        found["frame_stamp_ns"].tolist() == [0, 10**8, 2 * 10**8]
        and found["frame_id"].tolist() == ["camera"] * 3
    )
    for name in (
        "frame_index",
        "stamp_ns",
        "track_id",
        "joints_m",
        "root_m",
        "covariance_m2",
        "keypoints_px",
        "status",
    ):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


@needs_weights
@needs_clip
def test_estimate_of_a_video_with_nobody(tmp_path):
    out, video = tmp_path / "persons.npz", tmp_path / "overlay.mp4"
    assert (
        main(
            ["estimate", str(CLIP), "--out", str(out), "--max-frames", "3", "--overlay", str(video)]
        )
        == 0
    )
    found = np.load(out, allow_pickle=False)
    assert (
        found["frame_count"] == 3
        and found["joints_m"].shape == (0, 17, 3)
        and found["hypotheses_m"].shape[2:] == (17, 3)
    )
    assert open_source(str(video)).count == 3


@needs_weights
@needs_clip
def test_persons_of_a_video_are_tracked_unless_told_otherwise(tmp_path, truth):
    inside = np.flatnonzero(((truth[0] > 5) & (truth[0] < [635, 475])).all((1, 2)))[:4]
    frames = list(open_source(str(CLIP)).frames())
    writer = cv2.VideoWriter(
        str(tmp_path / "in.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 15.0, (640, 480)
    )
    for number in inside:
        writer.write(np.ascontiguousarray(frames[number][..., ::-1]))
    writer.release()
    out = tmp_path / "persons.npz"
    for option, ids in (("--track", [1] * 4), ("--no-track", [0] * 4)):
        assert (
            main(
                [
                    "estimate",
                    str(tmp_path / "in.mp4"),
                    "--out",
                    str(out),
                    "--camera",
                    str(CLIP.with_suffix(".yaml")),
                    option,
                ]
            )
            == 0
        )
        found = np.load(out, allow_pickle=False)
        assert found["track_id"].tolist() == ids and found["frame_index"].tolist() == [0, 1, 2, 3]
        assert found["velocity_mps"].shape == (4, 17, 3) and np.isfinite(
            found["velocity_mps"]
        ).all() == (option == "--track")


@needs_clip
def test_reidentify_gives_the_tracker_its_time_and_every_image(tmp_path, monkeypatch):
    from lifting_ros.tracking.tracking import Tracker

    seen = []

    class Watched(Tracker):
        def update(self, stamp_ns, persons, image=None):
            seen.append((self.config.reidentify_s, image.shape))
            return super().update(stamp_ns, (), image)

    class Blind:
        config = EstimatorConfig()

        def estimate(self, *_):
            return Estimate((), {})

    monkeypatch.setattr("lifting_ros.tracking.tracking.Tracker", Watched)
    options = argparse.Namespace(
        track=None, reidentify=7.0, max_frames=2, overlay=None, blur_faces=False
    )
    frames = estimate.estimate_frames(options, open_source(str(CLIP)), None, Blind())
    assert len(frames) == 2 and seen == [(7.0, (480, 640, 3))] * 2


@pytest.fixture
def bad(tmp_path):
    """A folder with files that are not what their names say."""
    (tmp_path / "video.mp4").write_bytes(b"no video")
    (tmp_path / "video.mcap").write_bytes(b"no bag")
    (tmp_path / "image.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    cv2.imwrite(str(tmp_path / "good.png"), np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "other.yaml").write_text(
        "image_width: 100\nimage_height: 20\ncamera_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}\n"
    )
    (tmp_path / "short.yaml").write_text(
        "image_width: 64\nimage_height: 48\ncamera_matrix: {data: [1, 0, 0]}\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["estimate", "missing.mp4", "--out", "out.npz"], "missing.mp4: no such file"),
        (["estimate", "video.mp4", "--out", "out.npz"], "does not open as a video"),
        (
            ["estimate", "image.png", "--out", "out.npz", "--camera", "other.yaml"],
            "does not decode as an image",
        ),
        (["estimate", "empty", "--out", "out.npz"], "no images"),
        (["estimate", "video.mcap", "--out", "out.npz"], "video.mcap: not a readable bag"),
        (
            ["estimate", "video.mcap", "--out", "out.npz", "--overlay", "a.png"],
            "--overlay: not with a bag",
        ),
        (["estimate", "video.mcap", "--out", "out.npz", "--no-track"], "--track: not with a bag"),
        (
            ["estimate", "video.mcap", "--out", "out.npz", "--reidentify", "9"],
            "--reidentify: not with a bag",
        ),
        (["estimate", "good.png", "--out", "out.npz", "--reidentify", "-1"], "--reidentify"),
        (["estimate", "good.png", "--out", "out.txt"], "ends in .npz or .mcap"),
        (["estimate", "good.png", "--out", "none/out.npz"], "folder does not exist"),
        (["estimate", "good.png", "--out", "out.npz", "--overlay", "a.gif"], "--overlay"),
        (["estimate", "good.png", "--out", "out.npz", "--max-frames", "-1"], "--max-frames"),
        (["estimate", "good.png", "--out", "out.npz", "--camera", "missing.yaml"], "missing.yaml"),
        (
            ["estimate", "good.png", "--out", "out.npz", "--camera", "other.yaml"],
            "does not fit images of 64 x 48",
        ),
        (["estimate", "good.png", "--out", "out.npz", "--camera", "short.yaml"], "camera_matrix"),
        (["detect", "missing.png", "--out", "out.npz"], "missing.png: no such file"),
        (["detect", "image.png", "--out", "out.npz"], "does not decode as an image"),
        (["detect", "good.png", "--out", "out.txt"], "ends in .npz"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(bad, monkeypatch, capfd, arguments, named):
    monkeypatch.chdir(bad)
    before = sorted(bad.iterdir())
    assert main(arguments) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and named in lines[0]
    assert sorted(bad.iterdir()) == before


class Recorder:
    """An estimator that finds nobody, and keeps size and camera of each image."""

    seen: list[tuple[tuple[int, int], float | None]]
    weights_sha256 = prior_sha256 = ""

    def __init__(self, config):
        self.config = config
        Recorder.seen = []

    def estimate(self, image, camera=None, up=None, depth=None):
        focal_px = camera.matrix[0, 0] if camera else None
        Recorder.seen.append((image.shape[1::-1], focal_px))
        return Estimate((), {})


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setattr("lifting_ros.estimator.PoseEstimator", Recorder)
    return Recorder


CALIBRATION = (
    "image_width: 640\nimage_height: 480\n"
    "camera_matrix: {data: [500, 0, 319.5, 0, 500, 239.5, 0, 0, 1]}\n"
)


def test_each_size_of_a_folder_has_its_camera(tmp_path, recorder):
    folder, camera = tmp_path / "images", tmp_path / "camera.yaml"
    folder.mkdir()
    camera.write_text(CALIBRATION)
    sizes = [(640, 480), (320, 240), (1280, 960), (320, 240)]
    for number, (width, height) in enumerate(sizes):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((height, width, 3), np.uint8))
    out = tmp_path / "out.npz"
    assert main(["estimate", str(folder), "--out", str(out), "--camera", str(camera)]) == 0
    assert recorder.seen == list(zip(sizes, [500.0, 250.0, 1000.0, 250.0], strict=True))


@pytest.mark.parametrize("verb", ["estimate", "demo"])
def test_picture_that_the_calibration_does_not_fit_is_named(
    tmp_path, recorder, monkeypatch, capfd, verb
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "camera.yaml").write_text(CALIBRATION)
    for name, width, height in (("a.png", 640, 480), ("b.png", 480, 640)):
        cv2.imwrite(f"images/{name}", np.zeros((height, width, 3), np.uint8))
    words = {
        "estimate": ["estimate", "images", "--out", "out.npz", "--camera", "camera.yaml"],
        "demo": ["demo", "--video", "images", "--out", "out", "--camera", "camera.yaml"],
    }
    assert main(words[verb]) == 2
    assert capfd.readouterr().err.splitlines() == [
        f"lifting {verb}: camera.yaml: image_width x image_height does not fit images of 480 x 640"
        " (b.png)"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["camera.yaml", "images"]


def test_folder_with_bad_files_is_estimated_and_they_are_named(tmp_path, recorder, capfd):
    for name in ("frame_2.png", "frame_10.png", "._frame_1.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "frame_9.jpg").write_bytes(b"")
    out = tmp_path / "out.npz"
    assert main(["estimate", str(tmp_path), "--out", str(out)]) == 0
    output = capfd.readouterr()
    assert output.err == f"lifting estimate: {tmp_path}: 1 of 3 images do not decode: frame_9.jpg\n"
    assert output.out.startswith("0 persons in 0 of 2 frames")
    assert np.load(out)["frame_stamp_ns"].tolist() == [0, 2 * 10**8]


def test_damaged_video_is_estimated_to_its_end(tmp_path, recorder, capfd):
    images = [np.full((48, 64, 3), 6 * k, np.uint8) for k in range(30)]
    images[15] = None
    path = write_video(tmp_path / "clip.mkv", images, [50 * k for k in range(30)], 1500)
    out = tmp_path / "out.npz"
    assert main(["estimate", str(path), "--out", str(out)]) == 0
    said = f"lifting estimate: {path}: the container states 30 frames, 29 came: 1 do not decode"
    assert any(line.startswith(said) for line in capfd.readouterr().err.splitlines())
    stamps_ms = (np.load(out)["frame_stamp_ns"] / 1e6).tolist()
    assert stamps_ms == [50 * k for k in range(30) if k != 15]


def test_times_of_an_uneven_video_are_in_the_bag_too(tmp_path, recorder):
    images = [np.full((48, 64, 3), 40 * k, np.uint8) for k in range(5)]
    path = write_video(tmp_path / "phone.webm", images, [0, 40, 120, 790, 800])
    bag, out = tmp_path / "out.mcap", tmp_path / "out.npz"
    assert main(["estimate", str(path), "--out", str(bag)]) == 0
    assert main(["poses", str(bag), "--out", str(out)]) == 0
    assert (np.load(out)["frame_stamp_ns"] / 1e6).tolist() == [0, 40, 120, 790, 800]


@pytest.mark.parametrize("verb", ["estimate", "detect"])
def test_an_unknown_option_is_refused(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "x.png", "--out", "out.npz", "--no-such-option"])
    assert end.value.code == 2 and "--no-such-option" in capsys.readouterr().err


def test_a_calibration_fits_images_of_another_size(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(
        "image_width: 640\nimage_height: 480\n"
        "camera_matrix: {data: [500, 0, 319.5, 0, 510, 239.5, 0, 0, 1]}\n"
    )
    half = read_camera_file(path).camera(320, 240)
    np.testing.assert_allclose(half.matrix, [[250, 0, 159.5], [0, 255, 119.5], [0, 0, 1]])


def test_the_sheet_prefers_frames_with_people():
    frames = [(k, None, ["somebody"] if 10 <= k < 20 else []) for k in range(40)]
    picked = chosen([frame[2] for frame in frames])
    assert len(picked) == 6 and all(10 <= k < 20 for k in picked)
    assert chosen([frame[2] for frame in frames[:3]]) == [0, 1, 2]
