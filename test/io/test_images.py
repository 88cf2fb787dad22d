# SPDX-License-Identifier: Apache-2.0
"""Frames of files as they are found: damaged, cut off, at uneven times, in folders with junk."""

import http.server
import re
import struct
import threading

import cv2
import numpy as np
import pytest
from matroska import write_video

from lifting_ros.errors import DataError
from lifting_ros.io.images import Losses, open_source
from lifting_ros.io.video_headers import VideoHeader, read_video_header

FRAMES = [np.full((48, 64, 3), 6 * k, np.uint8) for k in range(40)]
UNEVEN_MS = [0, 33, 133, 166, 566, 1236, 1253, 1286, 1386, 1419, 1819, 2489, 2506, 2546]


def read(path) -> tuple[list, Losses]:
    losses = Losses()
    return list(open_source(str(path)).stamped(losses)), losses


def levels(frames) -> list[int]:
    """Which of FRAMES they are."""
    return [round(float(frame.bgr.mean()) / 6) for frame in frames]


def write_avi(path, fps: float = 20.0) -> bytes:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    for frame in FRAMES:
        writer.write(frame)
    writer.release()
    return path.read_bytes()


def write_mp4(path, hidden: int = 0):
    """FRAMES as an MP4 file whose headers come first; an edit list hides the first frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20.0, (64, 48))
    for frame in FRAMES:
        writer.write(frame)
    writer.release()

    data = path.read_bytes()
    begin = data.find(b"moov") - 4
    (length,) = struct.unpack(">I", data[begin : begin + 4])
    movie = bytearray(data[begin : begin + length])

    def number(box: bytes, offset: int) -> int:
        return struct.unpack_from(">I", movie, movie.find(box) + offset)[0]

    def put(box: bytes, offset: int, value: int) -> None:
        struct.pack_into(">I", movie, movie.find(box) + offset, value)

    shown_ticks = number(b"mvhd", 16) * (40 - hidden) // 20
    put(b"mvhd", 20, shown_ticks)
    put(b"tkhd", 24, shown_ticks)
    put(b"elst", 12, shown_ticks)
    put(b"elst", 16, number(b"mdhd", 20) * hidden // 40)
    put(b"stco", 12, number(b"stco", 12) + length)
    mdat = data.find(b"mdat") - 4
    path.write_bytes(data[:mdat] + movie + data[mdat:begin] + data[begin + length :])
    return path


def chunks(data: bytes) -> list[int]:
    """Where the JPEG frames of an AVI begin."""
    return [found.start() for found in re.finditer(rb"00dc....\xff\xd8\xff", data, re.DOTALL)]


def test_video_goes_on_after_an_unreadable_frame(tmp_path):
    path = tmp_path / "clip.avi"
    data = bytearray(write_avi(path))
    places = chunks(data)
    for number in (0, 15, 16):
        data[places[number] + 8 : places[number + 1]] = bytes(
            places[number + 1] - places[number] - 8
        )
    path.write_bytes(data)

    frames, losses = read(path)
    kept = [k for k in range(40) if k not in (0, 15, 16)]
    assert levels(frames) == kept
    assert [frame.stamp_ns for frame in frames] == [(k - 1) * 50_000_000 for k in kept]
    assert (losses.came, losses.missing) == (37, 3)
    assert losses.text == "the container states 40 frames, 37 came: 3 do not decode"


def test_cut_off_video_says_how_much_came(tmp_path):
    path = tmp_path / "clip.avi"
    data = write_avi(path)
    path.write_bytes(data[: chunks(data)[25]])
    frames, losses = read(path)
    assert len(frames) == 25
    assert losses.text == "the container states 40 frames, 25 came: the file is cut off"


def test_count_in_a_header_is_not_called_damage(tmp_path):
    path = tmp_path / "clip.avi"
    data = bytearray(write_avi(path))
    for place in (data.find(b"avih") + 8 + 16, data.find(b"strh") + 8 + 32):
        assert data[place : place + 4] == struct.pack("<I", 40)
        data[place : place + 4] = struct.pack("<I", 50)
    path.write_bytes(data)
    frames, losses = read(path)
    assert levels(frames) == list(range(40))
    assert losses.text == "the container states 50 frames, 40 came"


@pytest.mark.parametrize("hidden", [0, 1, 13])
def test_frames_that_an_edit_list_hides_are_not_missing(tmp_path, hidden):
    path = write_mp4(tmp_path / "clip.mp4", hidden)
    frames, losses = read(path)
    np.testing.assert_allclose(levels(frames), range(hidden, 40), atol=1)  # MPEG-4 is lossy
    assert losses.text == ""


def test_cut_off_mp4_is_called_so(tmp_path):
    path = write_mp4(tmp_path / "clip.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    frames, losses = read(path)
    assert 20 < len(frames) < 35
    assert re.fullmatch(
        rf"the container states 40 frames, {len(frames)} came: the file is cut off", losses.text
    )


@pytest.mark.parametrize("data", [b"", b"RIFF", b"\0\0\0\1ftyp", b"\0\0\0\x0cmoov\xff\xff\xff\xff"])
def test_headers_that_are_none_state_nothing(tmp_path, data):
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    assert read_video_header(path).shown == 1.0
    assert read_video_header(tmp_path / "none.mp4") == VideoHeader()


@pytest.mark.parametrize("stated", [False, True])
def test_unreadable_frame_of_a_video_without_a_count(tmp_path, stated):
    images = [None if k in (7, 8) else image for k, image in enumerate(FRAMES)]
    stamps = [round(1e3 * k / 30) for k in range(40)]
    path = write_video(tmp_path / "clip.mkv", images, stamps, 1333 if stated else 0)
    frames, losses = read(path)
    assert levels(frames) == [k for k in range(40) if k not in (7, 8)]
    assert [frame.stamp_ns for frame in frames[6:8]] == [200_000_000, 300_000_000]
    assert losses.missing == 2


def test_cut_off_video_without_a_count(tmp_path):
    path = write_video(tmp_path / "clip.mkv", FRAMES, [50 * k for k in range(40)], 4000)
    frames, losses = read(path)
    assert len(frames) == 40 and losses.missing == 40


@pytest.mark.parametrize("end_ms", [0, UNEVEN_MS[-1] + 500])
def test_uneven_times_are_the_containers_own(tmp_path, end_ms):
    path = write_video(tmp_path / "phone.webm", FRAMES[: len(UNEVEN_MS)], UNEVEN_MS, end_ms)
    frames, losses = read(path)
    stamps_ms = np.array([frame.stamp_ns for frame in frames]) / 1e6
    np.testing.assert_allclose(stamps_ms, UNEVEN_MS, atol=1.0)
    assert losses.text == ""


def test_even_times_are_exactly_even(tmp_path):
    write_avi(tmp_path / "clip.avi", 15.0)
    rounded_ms = [round(1e3 * k / 15) for k in range(40)]
    write_video(tmp_path / "clip.mkv", FRAMES, rounded_ms)
    for name in ("clip.avi", "clip.mkv"):
        frames, losses = read(tmp_path / name)
        assert [frame.stamp_ns for frame in frames] == [round(k * 1e9 / 15) for k in range(40)]
        assert losses.text == ""


def test_times_always_ascend(tmp_path):
    stamps = [0, 40, 80, 40, 80, 200, 0, 240]
    path = write_video(tmp_path / "clip.mkv", FRAMES[:8], stamps)
    frames, _ = read(path)
    assert len(frames) == 8 and (np.diff([frame.stamp_ns for frame in frames]) > 0).all()


@pytest.fixture
def junk(tmp_path):
    """A folder with two images that decode, and what else there is in folders."""
    for name in ("frame_1.png", "frame_10.png", "frame_2.png"):
        cv2.imwrite(str(tmp_path / name), FRAMES[int(name[6:-4])])
    cv2.imwrite(str(tmp_path / ".hidden.png"), FRAMES[30])
    (tmp_path / "._frame_1.jpg").write_bytes(b"resource fork")
    (tmp_path / "frame_3.jpg").write_bytes(b"")
    (tmp_path / "frame_4.png").write_bytes((tmp_path / "frame_1.png").read_bytes()[:60])
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("notes")
    return tmp_path


def test_folder_with_junk_in_natural_order(junk):
    frames, losses = read(junk)
    assert levels(frames) == [1, 2, 10]
    assert [frame.name for frame in frames] == ["frame_1.png", "frame_2.png", "frame_10.png"]
    assert [frame.stamp_ns for frame in frames] == [0, 100_000_000, 400_000_000]
    assert losses.text == "2 of 5 images do not decode: frame_3.jpg, frame_4.png"


def test_folder_without_a_good_image_is_refused(tmp_path):
    for number in range(7):
        (tmp_path / f"{number}.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 7 images decodes: 0.jpg, .* and 2 more$"):
        read(tmp_path)


def test_video_without_a_good_frame_is_refused(tmp_path):
    images = [FRAMES[0]] * 3
    path = write_video(tmp_path / "clip.mkv", images, [0, 40, 80])
    data = bytearray(path.read_bytes())
    begin = data.find(b"\xff\xd8\xff")
    data[begin:] = bytes(len(data) - begin)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"clip.mkv: (no frame can be read|does not open)"):
        read(path)


@pytest.fixture
def server(tmp_path):
    """The URL of a camera that goes while it sends its 13th picture."""
    boundary = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"

    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for frame in FRAMES[:13]:
                self.wfile.write(boundary + cv2.imencode(".jpg", frame)[1].tobytes() + b"\r\n")

        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/stream.mjpg"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_stream_is_live_and_read_to_its_end(server):
    source = open_source(server)
    assert source.live and not source.count
    frames = list(source.stamped())
    assert levels(frames) == list(range(12))
    assert (np.diff([frame.stamp_ns for frame in frames]) > 0).all()


@pytest.mark.parametrize("url", ["rtsp://127.0.0.1:9/none", "http://127.0.0.1:9/none.mjpg"])
def test_stream_that_is_not_there_is_one_line(url):
    with pytest.raises(DataError, match=f"^{url}: does not open as a camera or a stream$"):
        open_source(url)


@pytest.mark.parametrize("name", ["²", "x" * 300])
def test_odd_names_are_one_line(name):
    with pytest.raises(DataError) as error:
        open_source(name)
    assert "\n" not in str(error.value)
