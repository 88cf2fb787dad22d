# SPDX-License-Identifier: Apache-2.0
"""`lifting fleet`: the outputs of the single verbs, finished work is skipped, failures are listed,
and killed processes lose nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "ros"))
sys.path.insert(0, str(Path(__file__).parent))

import bags
import clip
import conftest_ros  # noqa: F401
from fleet_driver import HELD, LightEstimator

import lifting_ros
from lifting_ros import estimator as pipeline
from lifting_ros.cli.fleet import shard, verbs
from lifting_ros.cli.fleet.manifest import stamps_of
from lifting_ros.cli.fleet.sources import BAG, IMAGES, VIDEO, find_sources
from lifting_ros.cli.main import main
from lifting_ros.cli.models import Models
from lifting_ros.errors import LiftingError
from lifting_ros.research.labels.labeller import SHAPES
from lifting_ros.research.labels.labels import QUALITY, read_label_folders

DRIVER = Path(__file__).with_name("fleet_driver.py")
PACKAGE = Path(lifting_ros.__file__).parent
KINDS = (BAG, VIDEO, IMAGES)
PATIENCE_S = 1200
"""Time after which a test gives up to wait for a process."""


def picture(number: int, first: int = 200) -> np.ndarray:
    """(24, 32, 3) uint8 RGB, another one for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (24, 32, 3), np.uint8)
    pixels[0, 0] = first
    return pixels


def write_images(folder: Path, numbers: list[int], first: int = 200) -> Path:
    folder.mkdir(parents=True)
    for number in numbers:
        cv2.imwrite(str(folder / f"{number}.png"), picture(number, first)[..., ::-1])
    return folder


def write_video(path: Path, numbers: list[int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (32, 24))
    for number in numbers:
        writer.write(picture(number))
    writer.release()
    return path


def write_recording(path: Path, numbers: list[int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    messages = []
    for place, number in enumerate(numbers):
        stamp = bags.START_NS + place * bags.PERIOD_NS
        messages.append(("/cam/image_raw", stamp + 1, bags.image(picture(number), stamp)))
        messages.append(("/cam/camera_info", stamp, bags.camera_info(stamp, width=32, height=24)))
    return bags.write_bag(path, messages)


@pytest.fixture
def light(monkeypatch):
    """The verbs with an estimator that needs no weights."""
    monkeypatch.setattr(pipeline, "PoseEstimator", LightEstimator)
    monkeypatch.setattr(LightEstimator, "made", 0)
    monkeypatch.setattr(LightEstimator, "asked", 0)


@pytest.fixture
def sources(tmp_path):
    """A folder with a recording, a video and two folders of images."""
    top = tmp_path / "in"
    write_recording(top / "monday" / "run", [1, 2])
    write_video(top / "monday" / "walk.mp4", [3, 4, 5])
    write_images(top / "monday" / "stills", [6, 7])
    write_images(top / "tuesday" / "stills", [8])
    return top


def fleet(*words: object) -> int:
    return main(["fleet", *map(str, words)])


def record(out: Path, name: str) -> dict:
    return json.loads((out / "manifest" / f"{name}.json").read_text())


def content(folder: Path) -> dict[str, bytes]:
    """The outputs by name, without the manifest."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "manifest" not in path.relative_to(folder).parts[0]
    }


def times(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when an output is written again: its inode and time."""
    found = {name: (folder / name).stat() for name in content(folder)}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found.items()}


NAMES = ("in/monday/run", "in/monday/stills", "in/monday/walk.mp4", "in/tuesday/stills")


@pytest.mark.parametrize(
    ("verb", "suffix", "names"),
    [
        (["estimate"], ".npz", NAMES),
        (["estimate", "--device", "cpu"], ".mcap", NAMES),
        (["bag", "--poses-only"], ".mcap", NAMES[:1]),
    ],
    ids=["npz", "mcap", "bag"],
)
def test_outputs_are_those_of_the_single_verbs(light, sources, tmp_path, verb, suffix, names):
    options = ["--format", suffix[1:]] if verb[0] == "estimate" else []
    assert fleet(sources, "--out", tmp_path / "out", *options, "--verb", *verb) == 0
    assert LightEstimator.made == 1

    expected = {}
    for name in names:
        single = tmp_path / f"single{suffix}"
        assert main([verb[0], str(tmp_path / name), "--out", str(single), *verb[1:]]) == 0
        expected[name + suffix] = single.read_bytes()
    assert content(tmp_path / "out") == expected


class LightLabeller:
    """One label for each image that is not grey."""

    about = {"sha256": {}}

    def label(self, image, number, camera):
        if (image == 128).all():
            return None
        rng = np.random.default_rng(int(image.sum()))
        columns = {name: rng.random((1, *shape)) for name, shape in SHAPES.items()}
        columns["windows"] = (255 * columns["windows"]).astype(np.uint8)
        quality = {f"quality_{name}": np.zeros(1) for name in QUALITY}
        return {**columns, **quality, "image_index": np.full(1, number)}


def test_labels_are_shards_that_training_reads(monkeypatch, sources, tmp_path, capsys):
    monkeypatch.setattr(Models, "labeller", lambda *_: LightLabeller())
    (sources / "wall").mkdir()
    cv2.imwrite(str(sources / "wall" / "0.png"), np.full((24, 32, 3), 128, np.uint8))

    command = [sources, "--out", tmp_path / "out", "--verb", "label", "--sheet", "0"]
    assert fleet(*command) == 0
    assert "in/wall: nobody was found in 1 images" in capsys.readouterr().err
    assert record(tmp_path / "out", "in/wall")["output"] is None

    shards = read_label_folders(tmp_path / "out")
    assert [labels.images for labels in shards] == [("6.png", "7.png"), ("8.png",)]
    single = tmp_path / "single"
    words = ["label", str(sources / "tuesday" / "stills"), "--out", str(single), "--sheet", "0"]
    assert main(words) == 0
    assert content(single) == content(tmp_path / "out" / "in" / "tuesday" / "stills.labels")

    assert fleet(*command) == 0
    assert "0 done, 3 finished before, 0 failed" in capsys.readouterr().out


@pytest.mark.skipif(
    not (PACKAGE / "weights" / "full.safetensors").is_file(), reason="the weights are not there"
)
def test_estimator_carries_nothing_to_the_next_source(tmp_path):
    for number, frames in enumerate(([60, 61], [90, 91])):
        folder = tmp_path / "in" / f"{number}"
        folder.mkdir(parents=True)
        for place, pixels in enumerate(clip.frames(frames)):
            cv2.imwrite(str(folder / f"{place}.png"), pixels[..., ::-1])

    verb = ["--verb", "estimate", "--track"]
    assert fleet(tmp_path / "in", "--out", tmp_path / "out", *verb) == 0
    single = tmp_path / "single.npz"
    assert main(["estimate", str(tmp_path / "in" / "1"), "--out", str(single), "--track"]) == 0
    assert single.read_bytes() == (tmp_path / "out" / "in" / "1.npz").read_bytes()
    assert len(np.load(single)["track_id"]) == 2


def touch(top: Path, out: Path) -> None:
    os.utime(top / "monday" / "walk.mp4", (1, 1))


def change_video(top: Path, out: Path) -> None:
    write_video(top / "monday" / "walk.mp4", [3, 4, 9])


def add_image(top: Path, out: Path) -> None:
    cv2.imwrite(str(top / "tuesday" / "stills" / "9.png"), picture(9))


def remove_output(top: Path, out: Path) -> None:
    (out / "in" / "monday" / "run.npz").unlink()


def damage_record(top: Path, out: Path) -> None:
    (out / "manifest" / "in" / "monday" / "run.json").write_text('{"task"')


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("change", "options", "done"),
    [
        (None, [], 0),
        (touch, [], 0),
        (change_video, [], 1),
        (add_image, [], 1),
        (remove_output, [], 1),
        (damage_record, [], 1),
        (None, ["--format", "mcap"], 4),
        (None, ["--verb", "estimate", "--device", "cpu"], 4),
    ],
    ids=["same", "touched", "changed", "image", "lost", "record", "format", "option"],
)
def test_only_what_changed_is_made_anew(sources, tmp_path, capsys, change, options, done):
    out = tmp_path / "out"
    assert fleet(sources, "--out", out) == 0
    assert "4 done, 0 finished before, 0 failed" in capsys.readouterr().out
    before = times(out)
    if change:
        change(sources, out)

    assert fleet(sources, "--out", out, *options) == 0
    said = f"{done} done, {4 - done} finished before, 0 failed"
    assert said in capsys.readouterr().out
    after = times(out)
    assert len(after) == 4 and len(before.items() & after.items()) == 4 - done

    # Nothing has to be read the next time, not even a touched source.
    for name in NAMES:
        assert record(out, name)["stamps"] == stamps_of(tmp_path / name)


def test_other_content_of_the_same_size_and_time_is_seen(light, tmp_path, capsys):
    image, out = tmp_path / "image.bmp", tmp_path / "out"
    cv2.imwrite(str(image), picture(1))
    assert fleet(image, "--out", out) == 0
    before, status = content(out), image.stat()

    cv2.imwrite(str(image), picture(2))
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert image.stat().st_size == status.st_size
    assert fleet(image, "--out", out) == 0
    assert "1 done, 0 finished before" in capsys.readouterr().out.splitlines()[-1]
    assert content(out) != before


@pytest.mark.parametrize("file", ["model", "camera"])
def test_other_models_and_files_are_other_parameters(light, tmp_path, monkeypatch, capsys, file):
    folder = write_images(tmp_path / "in", [1])
    (tmp_path / "model").write_text("one")
    monkeypatch.setattr(verbs, "model_files", lambda config: {"network": tmp_path / "model"})
    camera = tmp_path / "camera"
    camera.write_bytes(bags.CALIBRATION.read_bytes())
    command = [folder, "--out", tmp_path / "out", "--verb", "estimate", "--camera", camera]

    # The picture is larger, because the calibration is that of 4:3.
    cv2.imwrite(str(folder / "1.png"), np.full((48, 64, 3), 90, np.uint8))
    for expected in ("1 done", "0 done"):
        assert fleet(*command) == 0
        assert expected in capsys.readouterr().out
    with (tmp_path / file).open("a") as other:
        other.write("\n# another\n")
    assert fleet(*command) == 0
    assert "1 done" in capsys.readouterr().out


def test_damaged_files_are_listed_and_tried_again(light, sources, tmp_path, capsys):
    out, damaged = tmp_path / "out", sources / "monday" / "broken.mp4"
    damaged.write_bytes(b"nothing")
    (sources / "monday" / "gone.mp4").symlink_to("nowhere")
    assert fleet(sources, "--out", out) == 2
    said = capsys.readouterr()
    assert "4 done, 0 finished before, 2 failed" in said.out
    broken, gone = said.err.splitlines()
    assert broken.startswith(f"lifting fleet: in/monday/broken.mp4: {damaged}: ")
    assert gone.startswith("lifting fleet: in/monday/gone.mp4: ")
    assert record(out, "in/monday/broken.mp4")["error"] in broken

    write_video(damaged, [3])
    assert fleet(sources, "--out", out) == 2
    assert "1 done, 4 finished before, 1 failed" in capsys.readouterr().out


def test_source_that_gets_damaged_loses_its_output(light, tmp_path):
    video, out = write_video(tmp_path / "walk.mp4", [1]), tmp_path / "out"
    assert fleet(video, "--out", out) == 0 and content(out)
    video.write_bytes(b"nothing")
    assert fleet(video, "--out", out) == 2 and not content(out)


def test_source_that_grows_meanwhile_is_listed(light, tmp_path, monkeypatch, capsys):
    folder = write_images(tmp_path / "in", [1])

    class Growing(LightEstimator):
        def estimate(self, image, *rest):
            cv2.imwrite(str(folder / "2.png"), picture(2))
            return super().estimate(image, *rest)

    monkeypatch.setattr(pipeline, "PoseEstimator", Growing)
    assert fleet(folder, "--out", tmp_path / "out") == 2
    assert "in: " + str(folder) + ": changed while it was read" in capsys.readouterr().err
    assert not content(tmp_path / "out")


def test_bug_is_one_line_and_the_rest_is_done(light, sources, tmp_path, monkeypatch, capsys):
    class Broken(LightEstimator):
        def estimate(self, image, *rest):
            if image.sum() == picture(8).sum():
                raise KeyError("x")
            return super().estimate(image, *rest)

    monkeypatch.setattr(pipeline, "PoseEstimator", Broken)
    assert fleet(sources, "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("lifting fleet: in/tuesday/stills: bug: KeyError: 'x' (test_fleet.py:")
    assert "3 done, 0 finished before, 1 failed" in said.out


def test_warnings_name_their_source(light, tmp_path, capsys):
    folder = write_images(tmp_path / "in", [1])
    (folder / "2.png").write_bytes(b"nothing")
    assert fleet(folder, "--out", tmp_path / "out") == 0
    expected = f"lifting fleet: in: {folder}: 1 of 2 images do not decode: 2.png\n"
    assert capsys.readouterr().err == expected


def test_shards_make_together_what_one_process_makes(light, sources, tmp_path, capsys):
    assert fleet(sources, "--out", tmp_path / "whole") == 0
    for number in (1, 2, 3):
        assert fleet(sources, "--out", tmp_path / "parts", "--shard", f"{number}/3") == 0
    done = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert done == ["4", "2", "1", "1"]
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3"])
def test_wrong_shard_is_one_line(text):
    with pytest.raises(LiftingError, match="^--shard: expected I/N with I from 1 to N"):
        shard([], text)


def test_every_source_has_a_name_of_its_own(tmp_path):
    paths = [
        write_recording(tmp_path / "a" / "run", [1]),
        write_video(tmp_path / "a" / "run.mp4", [1]),
        write_video(tmp_path / "a" / "run.avi", [1]),
        write_video(tmp_path / "b" / "run.mp4", [1]),
    ]
    names = ["a/run", "a/run.avi", "a/run.mp4", "b/run.mp4"]
    folders = [str(tmp_path / "b"), str(tmp_path / "a"), str(tmp_path / "b" / "run.mp4")]
    by_folder = find_sources(folders, KINDS, tmp_path / "out")
    by_name = find_sources([str(path) for path in paths], KINDS, tmp_path / "out")
    assert [source.name for source in by_folder] == names
    assert by_name == by_folder


def test_search_leaves_out_what_is_no_source(tmp_path, monkeypatch):
    write_recording(tmp_path / "in" / "run", [1])
    write_images(tmp_path / "in" / "run" / "thumbnails", [1])
    write_images(tmp_path / "in" / ".hidden", [1])
    write_images(tmp_path / "in" / "stills" / "more", [1])
    write_video(tmp_path / "in" / "out" / "made.mp4", [1])
    write_video(tmp_path / "in" / ".hidden.mp4", [1])
    (tmp_path / "in" / "notes.txt").write_text("")
    monkeypatch.chdir(tmp_path)

    def names(*kinds: str) -> list[str]:
        return [source.name for source in find_sources(["in"], kinds, Path("in/out"))]

    assert names(*KINDS) == ["in/run", "in/stills/more"]
    assert names(BAG) == ["in/run"]
    assert names(IMAGES) == ["in/stills/more"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["gone", "--out", "out"], "gone: no such file or folder"),
        (["empty", "--out", "out"], "no bags or videos or folders of images in this folder"),
        (["in", "--out", "in"], "lies in --out"),
        (["in", "--out", "no/out"], "--out no/out: the folder does not exist"),
        (["in", "--out", "out", "--workers", "0"], "--workers: expected 1 or more, got 0"),
        (["in", "--out", "out", "--gpus", "1.5"], "--gpus: expected a part of one or a whole"),
        (["in", "--out", "out", "--gpus", "0.5"], "--cpus and --gpus: require --workers"),
        (["in", "--out", "out", "--workers", "2", "--shard", "1/2"], "--shard: expected it or"),
        (["in", "--out", "out", "--verb", "lift"], "--verb: expected estimate, bag, label, got"),
        (["in", "--out", "out", "--verb"], "--verb: expected estimate, bag, label, got ''"),
        (["in", "--out", "out", "--format", "npz", "--verb", "bag"], "--format npz: not with"),
        (["in", "--out", "out", "--verb", "estimate", "--out", "x"], "expected options that name"),
        (["in", "--out", "out", "--verb", "estimate", "--overlay", "x.png"], "--overlay"),
        (["in", "--out", "out", "--verb", "estimate", "--camera", "x"], "--camera"),
        (["in", "--out", "out", "--verb", "estimate", "--max-frames", "-1"], "--max-frames: exp"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, words, text):
    write_images(tmp_path / "in", [1])
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert fleet(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lifting fleet: ") and text in line


@pytest.mark.parametrize("words", [["--workers", "2"], ["--address", "auto"]])
def test_without_ray_one_line_says_what_to_install(light, sources, monkeypatch, capsys, words):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert fleet(sources, "--out", sources.parent / "out", *words) == 2
    assert capsys.readouterr().err == f"lifting fleet: {words[0]}: requires Ray: pip install ray\n"


class FakeRay:
    """Ray on a machine with one GPU, which starts at the attempt `starts_at`."""

    def __init__(self, starts_at: int):
        self.starts_at = starts_at
        self.attempts = 0

    def init(self, *_, **__) -> None:
        self.attempts += 1
        if self.attempts < self.starts_at:
            raise Exception("The current node timed out during startup.")

    def cluster_resources(self) -> dict[str, float]:
        return {"GPU": 1.0}

    def shutdown(self) -> None:
        pass


@pytest.mark.parametrize(
    ("starts_at", "workers", "text"),
    [
        (4, 2, "Ray does not start: The current node timed out during startup."),
        (3, 4, "--gpus 0.5: 4 workers require 2 GPUs, 1 are there"),
    ],
)
def test_ray_that_cannot_be_used_is_one_line(
    sources, monkeypatch, capsys, starts_at, workers, text
):
    monkeypatch.setitem(sys.modules, "ray", FakeRay(starts_at))
    options = ["--workers", workers, "--gpus", "0.5"]
    assert fleet(sources, "--out", sources.parent / "out", *options) == 2
    assert capsys.readouterr().err == f"lifting fleet: {text}\n"


class Program:
    """`fleet_driver.py` as a process, with sources of which the third is held."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.hold = folder / "hold"
        self.hold.touch()
        for number in range(6):
            name = folder / "in" / f"{number}"
            write_images(name, [2 * number, 2 * number + 1], HELD if number == 2 else 200)

    def start(self, *options: str) -> subprocess.Popen:
        command = [sys.executable, str(DRIVER), "fleet", "in", "--out", "out", *options]
        paths = os.pathsep.join([str(DRIVER.parents[1]), str(DRIVER.parents[1] / "ros")])
        env = os.environ | {
            "FLEET_HOLD": str(self.hold),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [paths, os.environ.get("PYTHONPATH")])),
        }
        return subprocess.Popen(
            command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def wait_for(self, path: Path, process: subprocess.Popen) -> None:
        """Wait until a file is there, as long as the process runs."""
        end = time.monotonic() + PATIENCE_S
        while not path.exists():
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < end, f"no {path}"
            time.sleep(0.05)

    def held_process(self, process: subprocess.Popen) -> int:
        """The number of the process that stopped at the held source."""
        number = self.hold.with_name("hold.pid")
        self.wait_for(number, process)
        return int(number.read_text())

    def end(self, process: subprocess.Popen) -> str:
        """Its standard output, once it ended well."""
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err.decode()
        return out.decode()

    def check(self, monkeypatch) -> None:
        """All outputs are there, whole and equal to those of one process; nothing else is."""
        monkeypatch.setattr(pipeline, "PoseEstimator", LightEstimator)
        assert fleet(self.folder / "in", "--out", self.folder / "whole") == 0
        found = content(self.folder / "out")
        assert len(found) == 6 and found == content(self.folder / "whole")


def test_killed_process_goes_on_where_it_was(tmp_path, monkeypatch):
    program = Program(tmp_path)
    process = program.start()
    assert program.held_process(process) == process.pid
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = times(tmp_path / "out")
    assert {name for name in before if name.endswith(".npz")} == {"in/0.npz", "in/1.npz"}

    program.hold.unlink()
    said = program.end(program.start())
    assert "4 done, 2 finished before, 0 failed" in said
    assert {name: times(tmp_path / "out")[name] for name in ("in/0.npz", "in/1.npz")} == {
        name: before[name] for name in ("in/0.npz", "in/1.npz")
    }
    program.check(monkeypatch)


def test_two_runs_share_the_work(tmp_path, monkeypatch):
    program = Program(tmp_path)
    first = program.start()
    program.held_process(first)
    second = program.start()
    program.wait_for(tmp_path / "out" / "manifest.lock", second)
    program.hold.unlink()
    done = [int(program.end(process).split()[0]) for process in (first, second)]
    assert sum(done) == 6
    program.check(monkeypatch)


def test_sigterm_ends_it_and_leaves_nothing_half_written(tmp_path):
    program = Program(tmp_path)
    process = program.start()
    program.held_process(process)
    process.terminate()
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert set(content(tmp_path / "out")) == {"in/0.npz", "in/1.npz"}


needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@needs_ray
def test_killed_worker_loses_nothing(tmp_path, monkeypatch):
    program = Program(tmp_path)
    process = program.start("--workers", "2")
    worker = program.held_process(process)
    assert worker != process.pid
    # The other worker does the rest meanwhile.
    for number in (0, 1, 3, 4, 5):
        program.wait_for(tmp_path / "out" / "manifest" / "in" / f"{number}.json", process)
    before = times(tmp_path / "out")
    os.kill(worker, signal.SIGKILL)
    program.hold.unlink()

    assert "6 done, 0 finished before, 0 failed" in program.end(process)
    done = [name for name in before if name != "in/2.npz" and name.endswith(".npz")]
    after = times(tmp_path / "out")
    assert len(done) == 5 and all(after[name] == before[name] for name in done)
    program.check(monkeypatch)


@needs_ray
def test_killed_driver_of_ray_goes_on_where_it_was(tmp_path, monkeypatch):
    program = Program(tmp_path)
    process = program.start("--workers", "2")
    program.held_process(process)
    for number in (0, 1, 3, 4, 5):
        program.wait_for(tmp_path / "out" / "manifest" / "in" / f"{number}.json", process)
    before = times(tmp_path / "out")
    process.send_signal(signal.SIGKILL)
    process.communicate()

    program.hold.unlink()
    said = program.end(program.start("--workers", "2"))
    # A worker that outlived its driver may have finished the held source.
    assert said.startswith(("1 done, 5 finished", "0 done, 6 finished"))
    done = [name for name in before if name != "in/2.npz" and name.endswith(".npz")]
    after = times(tmp_path / "out")
    assert len(done) == 5 and all(after[name] == before[name] for name in done)
    program.check(monkeypatch)
