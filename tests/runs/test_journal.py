import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

from nbtrain import redact
from nbtrain.errors import TrainingError
from nbtrain.events import Finished, Logged, Sampled, Started, Warned
from nbtrain.runs import journal
from nbtrain.runs.journal import Journal, Tail, last, story


def point(step):
    return Logged(time=float(step), step=step, values={"loss": 1 / step})


def test_what_is_appended_is_read_back_in_order(tmp_path):
    written = [Started(room="llm"), *map(point, range(1, 50)), Finished(step=49)]
    with Journal(tmp_path / "events.jsonl") as book:
        for event in written:
            book.append(event)
    assert story(tmp_path / "events.jsonl") == written
    assert last(tmp_path / "events.jsonl") == written[-1]


def test_a_journal_that_does_not_exist_has_no_events(tmp_path):
    assert story(tmp_path / "none") == []
    assert last(tmp_path / "none") is None


def test_a_journal_is_continued_by_the_next_writer(tmp_path):
    for step in (1, 2):
        with Journal(tmp_path / "events.jsonl") as book:
            book.append(point(step))
    assert story(tmp_path / "events.jsonl") == [point(1), point(2)]


@pytest.mark.parametrize("lost", [1, 2, 20])
def test_an_event_behind_a_torn_line_is_not_glued_to_it(tmp_path, lost):
    path = tmp_path / "events.jsonl"
    with Journal(path) as book:
        book.append(point(1))
        book.append(point(2))
    path.write_bytes(path.read_bytes()[:-lost])
    with Journal(path) as book:
        book.append(point(3))
    # without its newline alone a line is whole, and terminated by the next writer
    assert story(path) == ([point(1), point(2), point(3)] if lost == 1 else [point(1), point(3)])


def test_a_tail_gives_each_event_once_and_a_torn_line_waits(tmp_path):
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    with Journal(path) as book:
        book.append(Warned(time=1.0, message="größer 模"))
        assert tail.read() == [Warned(time=1.0, message="größer 模")]
        assert tail.read() == []
        book.append(Warned(time=2.0, message="ä模" * 10))
    whole = path.read_bytes()
    for cut in range(len(whole) - 60, len(whole)):
        path.write_bytes(whole[:cut])
        assert tail.read() == []
    path.write_bytes(whole)
    assert tail.read() == [Warned(time=2.0, message="ä模" * 10)]


def test_a_line_that_is_no_event_is_passed_over(tmp_path):
    path = tmp_path / "events.jsonl"
    with Journal(path) as book:
        book.append(point(1))
    with open(path, "ab") as file:
        file.write(b'null\n\xff\xfe\n{"event": "later"}\n\n{"event": "logged", "new": 1, "values": {}}\n[1]\n')
    with Journal(path) as book:
        book.append(point(2))
    assert story(path) == [point(1), point(2)]


def test_the_last_event_is_found_behind_a_long_one_and_before_a_torn_one(tmp_path):
    path = tmp_path / "events.jsonl"
    with Journal(path) as book:
        book.append(Sampled(samples=({"output": "x" * 200_000},)))
        book.append(point(2))
    with open(path, "ab") as file:
        file.write(b'{"event": "fini')
    assert last(path) == point(2)


def test_many_threads_write_whole_lines(tmp_path):
    path = tmp_path / "events.jsonl"
    with Journal(path) as book:
        threads = [
            threading.Thread(target=lambda: [book.append(point(step)) for step in range(1, 200)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(story(path)) == 8 * 199
    assert path.read_bytes().count(b"\n") == 8 * 199


@pytest.mark.parametrize("text", ["line\nhf_" + "a" * 30, 'my"canary\\secret', 'my"canary\\secret', "12345678901"])
def test_a_secret_is_masked_and_the_line_stays_one_event(tmp_path, monkeypatch, text):
    monkeypatch.setattr(redact, "_known", set())
    redact.remember('my"canary\\secret')
    redact.remember("12345678901")
    with Journal(tmp_path / "events.jsonl") as book:
        book.append(Logged(time=12345678901.5, step=1, values={text: 1.0}))
        book.append(Sampled(time=1.0, samples=({"output": text},)))
    written = (tmp_path / "events.jsonl").read_text()
    assert "canary" not in written and "hf_a" not in written and '"12345678901' not in written
    first, second = story(tmp_path / "events.jsonl")
    assert first.time == 12345678901.5
    assert "[secret]" in second.samples[0]["output"]


APPENDS = """
import sys
from pathlib import Path
from nbtrain.events import Logged
from nbtrain.runs.journal import Journal
book = Journal(Path(sys.argv[1]))
for step in range(1, 10**9):
    book.append(Logged(step=step, values={"loss": 0.5}))
    sys.stdout.write(f"{step}\\n")
    sys.stdout.flush()
"""


def test_every_event_that_was_appended_survives_sigkill(tmp_path):
    path, expected = tmp_path / "events.jsonl", 0
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", APPENDS, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(500):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        told = [line for line in writer.communicate()[0].split("\n")[:-1]]
        expected += int(told[-1]) if told else 500
        steps = [event.step for event in story(path)]
        # the one that it had written and not told yet may be there too
        assert expected <= len(steps) <= expected + 1
        expected = len(steps)


def test_a_full_disk_is_told_and_what_comes_when_there_is_room_again_is_whole(tmp_path):
    path = tmp_path / "events.jsonl"
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    book = Journal(path)
    book.append(point(1))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
        with pytest.raises(TrainingError, match="journal cannot be written") as caught:
            book.append(point(2))
        assert str(path) in caught.value.where and caught.value.why and caught.value.fix
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.stat().st_size > len(json.dumps("")) and not path.read_bytes().endswith(b"\n")
    book.append(point(3))
    book.close()
    assert story(path) == [point(1), point(3)]


def test_events_are_on_the_disk_within_seconds_and_an_end_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SYNC_SECONDS", 0.05)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    book = Journal(tmp_path / "events.jsonl")
    for step in range(1, 100):
        book.append(point(step))
    until = time.monotonic() + 20
    size = os.path.getsize(book.path)
    while size not in synced and time.monotonic() < until:
        time.sleep(0.01)
    assert size in synced and len(synced) < 50
    book.append(Finished(step=99))
    assert synced[-1] == os.path.getsize(book.path)
    book.close()


def test_a_journal_is_closed_twice_without_harm(tmp_path):
    book = Journal(tmp_path / "events.jsonl")
    book.append(point(1))
    book.close()
    book.close()
    assert story(book.path) == [point(1)]


def test_a_journal_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(TrainingError, match="journal cannot be written"):
        Journal(tmp_path / "missing" / "events.jsonl")
