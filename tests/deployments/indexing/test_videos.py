from deployments.errors import InvalidFile
from deployments.indexing.settings import IndexingConfig
from tests.deployments.indexing.fakes import FakeServices, fail, frame, index, line, remarks, sources, spoken, texts

FRAMES = [frame(0, 0.52), frame(50, 10.0), frame(100, 20.0)]
SPEECH = [spoken("Somebody says a sentence of many words here.", 4.0)]


def test_a_video_is_found_by_its_pictures_its_text_and_its_speech() -> None:
    lines = {0: [line("Welcome", 0.4)], 50: [], 100: [line("The End", 0.4)]}
    chunks = index("video", "mp4", FakeServices(frames=FRAMES, frame_lines=lines, segments=SPEECH))
    assert texts(chunks) == ["Scene 0.", "Scene 50.", "Scene 100.", "Welcome", "The End", SPEECH[0].text]
    assert sources(chunks)[1:] == [
        {"type": "video", "start": 10.0, "end": 20.0, "frame_number": 50, "origin": "picture"},
        {"type": "video", "start": 20.0, "end": 30.0, "frame_number": 100, "origin": "picture"},
        {"type": "video", "start": 0.0, "end": 10.0, "frame_number": 0, "origin": "on-screen text"},
        {"type": "video", "start": 20.0, "end": 30.0, "frame_number": 100, "origin": "on-screen text"},
        {"type": "video", "origin": "speech", "start": 4.0, "end": 6.4},
    ]
    assert chunks[3].parts[0].place == {"box": [0.1, 0.4, 0.9, 0.415]}


def test_the_same_text_on_frames_in_a_row_is_one_chunk() -> None:
    lines = {0: [line("Breaking news today", 0.4)], 50: [line("Breaking news  t0day", 0.4)], 100: [line("Ads", 0.4)]}
    services = FakeServices(frames=FRAMES, frame_lines=lines, has_audio=False)
    chunks = index("video", "mp4", services, IndexingConfig(caption_images=False))
    assert texts(chunks) == ["Breaking news today", "Ads"]
    assert (chunks[0].source_info["start"], chunks[0].source_info["end"]) == (0.0, 20.0)
    assert {"transcribe", "caption_frames"}.isdisjoint(services.calls)


def test_what_is_seen_is_found_where_its_scene_begins() -> None:
    services = FakeServices(frames=FRAMES, cuts_s=[4.0, 8.001, 12.0, 17.0], scanned=[], has_audio=False)
    chunks = index("video", "mp4", services)
    times = [(chunk.source_info["start"], chunk.source_info["end"]) for chunk in chunks]
    # A cut in the middle of a hundredth: the second one shows the new scene, the first one the old one.
    assert times == [(0.0, 4.0), (8.01, 12.0), (17.0, 30.0)]


def test_a_scene_shorter_than_a_hundredth_does_not_end_before_it_begins() -> None:
    services = FakeServices(frames=FRAMES, cuts_s=[3.991, 4.002, 4.004], scanned=[], has_audio=False)
    for chunk in index("video", "mp4", services):
        assert chunk.source_info["start"] <= chunk.source_info["end"]


def test_a_frame_without_a_caption_costs_only_that_caption() -> None:
    services = FakeServices(frames=FRAMES, scanned=[], frame_failures={50}, has_audio=False)
    assert texts(index("video", "mp4", services)) == ["Scene 0.", "Scene 100."]
    assert remarks("video", "mp4", services) == "1 of 3 scenes cannot be described: no caption"


def test_sound_that_cannot_be_decoded_costs_only_the_speech() -> None:
    services = FakeServices(frames=FRAMES, scanned=[], segments=InvalidFile("The sound is damaged."))
    assert texts(index("video", "mp4", services)) == ["Scene 0.", "Scene 50.", "Scene 100."]
    assert remarks("video", "mp4", services) == "The sound cannot be decoded: The sound is damaged."


def test_pictures_that_cannot_be_decoded_cost_only_the_pictures() -> None:
    services = FakeServices(frames=InvalidFile("No frame can be decoded."), segments=SPEECH)
    assert texts(index("video", "mp4", services)) == [SPEECH[0].text]
    assert remarks("video", "mp4", services) == "The frames cannot be decoded: No frame can be decoded."


def test_a_video_of_which_nothing_can_be_decoded_fails() -> None:
    services = FakeServices(frames=InvalidFile("No frame."), segments=InvalidFile("No sound."))
    error, may_retry = fail("video", "mp4", services)
    assert (error.code, error.message, may_retry) == ("INVALID_FILE", "No sound.", False)
