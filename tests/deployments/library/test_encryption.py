"""An encrypted library: nothing of it can be read without the key, and nothing is half encrypted."""

import asyncio
import hashlib
import json
import logging
import random
import shutil
import time
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from deployments.cancellation import Cancellation
from deployments.errors import ModelNotLoaded, ProcessingFailed, StorageFull
from deployments.library.database import is_damaged
from deployments.library.deployment import LibraryDeployment
from deployments.library.library import Library
from deployments.library.offline import run_offline
from deployments.library.originals import Originals
from deployments.library.settings import LibraryConfig
from deployments.library.types import FileFilter
from deployments.library.words import Terms
from deployments.media import as_media
from tests.deployments.library.contents import KEY, add, found, index, lease, new_chunks, new_file, upload, vectors_of
from tests.deployments.library.sqlcipher_pages import PAGE, decrypted_pages, keys_of
from tests.deployments.library.test_database import EARLIER_VERSIONS, revisions
from tests.deployments.library.test_deletion import make_word

OTHER_KEY = SecretStr("another key, long enough")


@pytest.fixture
def plain(tmp_path: Path) -> LibraryConfig:
    return LibraryConfig(folder=tmp_path / "plain")


@pytest.fixture
def encrypted(tmp_path: Path) -> LibraryConfig:
    return LibraryConfig(folder=tmp_path / "encrypted", encryption_key=KEY)


def with_key(config: LibraryConfig, key: SecretStr | None) -> LibraryConfig:
    return config.model_copy(update={"encryption_key": key})


def soon() -> Cancellation:
    return Cancellation(time.time() + 60)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder, by its path there. The lock says who had the folder last."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


# --- what can be read


def fill(library: Library, rng: random.Random) -> dict[str, bytes]:
    """Put something into everything that the library keeps, and return what must not be readable, by what it is."""
    names = ("content", "folder", "name", "text", "heading", "progress", "error", "failed", "waiting", "query")
    words = {name: make_word(rng) for name in names}
    original = f"{words['content']} " * 10_000
    path = f"{words['folder']}/{words['name']}.txt"
    checksum = upload(library, path, original).checksum
    job = lease(library)
    chunks = new_chunks([f"some {words['text']} here", "others"])
    chunks[0].source_info["heading"] = [words["heading"]]
    library.report_progress(job.job_id, job.lease, "reading", 0.5, words["progress"], 30)
    library.add_chunks(job.job_id, job.lease, 0, chunks, vectors_of([chunk.text for chunk in chunks]))
    library.complete_job(job.job_id, job.lease, 2)
    upload(library, f"{words['failed']}.txt")
    job = lease(library)
    library.fail_job(job.job_id, job.lease, "INVALID_FILE", f"It says {words['error']}.", may_retry=False)
    upload(library, f"{words['waiting']}.txt")
    library.add_history(words["query"], 1, 1.0)
    vector = vectors_of([chunks[1].text]).astype("<f2").tobytes()
    hidden = {name: word.encode() for name, word in words.items()}
    return {**hidden, "checksum": checksum.encode(), "raw checksum": bytes.fromhex(checksum), "vector": vector}


@pytest.mark.parametrize("state", ["in the log", "after a checkpoint", "compacted", "closed", "rebuilt"])
def test_no_byte_of_the_folder_tells_what_is_in_it(plain: LibraryConfig, encrypted: LibraryConfig, state: str) -> None:
    for config in (plain, encrypted):
        library = Library(config)
        hidden = fill(library, random.Random(1))
        match state:
            case "after a checkpoint":
                library.checkpoint()
            case "compacted":
                library.compact(soon())
            case "closed":
                library.close()
            case "rebuilt":
                assert library.rebuild(soon()).problems == []
        files = contents(config.folder)
        everything = b"".join(content + content.lower() for content in files.values())
        readable = {name for name, value in hidden.items() if value in everything}
        named = {name for name, value in hidden.items() for path in files if value.decode("latin-1") in path}
        library.close()
        if config is plain:  # so that the search is one that finds something
            assert readable == set(hidden) - {"raw checksum"}
            assert named == {"checksum"}
        else:
            assert readable == named == set()


def test_what_can_be_read_is_what_the_documents_say(encrypted: LibraryConfig) -> None:
    library = Library(encrypted)
    sizes = [0, 1, 65536, 65537]
    for size in sizes:
        library.add_file(as_media(bytes(size)), new_file(f"{size}.txt"))
    library.close()
    files = contents(encrypted.folder)
    originals = [content for path, content in files.items() if path.startswith("originals/")]
    assert sorted(map(len, originals)) == [24 + 16, 24 + 17, 24 + 65536 + 16, 24 + 65537 + 32]
    assert {path for path in files if not path.startswith("originals/")} == {"library.db", "encryption.json", "reserve"}
    assert set(json.loads(files["encryption.json"])) == {"format", "salt", "check"}
    assert not any(files["reserve"])
    assert not files["library.db"].startswith(b"SQLite")


def test_originals_are_under_names_that_need_the_key(encrypted: LibraryConfig, tmp_path: Path) -> None:
    names = []
    for number in range(2):
        config = encrypted.model_copy(update={"folder": tmp_path / str(number)})
        library = Library(config)
        file = upload(library, "a.txt", "known content")
        assert file.checksum == hashlib.sha256(b"known content").hexdigest()
        assert library.files(FileFilter(checksum=file.checksum), 10, 0).total == 1
        library.close()
        [name] = [path for path in contents(config.folder) if path.startswith("originals/")]
        names.append(name)
    assert names[0] != names[1]  # each library has a salt of its own


def test_the_database_is_encrypted_with_the_key_of_the_secret(encrypted: LibraryConfig) -> None:
    library = Library(encrypted)
    words = [make_word(random.Random(seed)) for seed in range(2)]
    add(library, "a.txt", [words[0]])
    library.checkpoint()
    add(library, "b.txt", [words[1]])
    pages = b"".join(decrypted_pages(encrypted.folder, KEY.get_secret_value()))
    assert all(word.encode() in pages for word in words)  # the second one in the log
    library.close()


def test_deleted_words_are_overwritten_inside_the_encryption_too(encrypted: LibraryConfig) -> None:
    rng = random.Random(3)
    library = Library(encrypted)
    kept, deleted = [[make_word(rng) for _ in range(12)] for _ in range(2)]
    for number, words in enumerate([deleted, kept]):
        add(library, f"{words[0]}.txt", [" ".join([word] * 100) for word in words[1:]])
        library.add_history(words[0], 1, 1.0)
        if number == 0:
            library.checkpoint()

    def there(words: list[str]) -> set[str]:
        pages = b"\n".join(decrypted_pages(encrypted.folder, KEY.get_secret_value()))
        return {word for word in words if word.encode() in pages}

    library.delete_file(1)
    library.clear_history()
    assert there(deleted)
    library.compact(soon())
    assert there(deleted) == set()
    assert there(kept) == set(kept)
    library.close()


def test_errors_of_the_database_do_not_quote_text(encrypted: LibraryConfig) -> None:
    library = Library(encrypted)
    with library._database.writing() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(StorageFull) as caught:
        library.add_history("a secret word " * 10_000, 1, 1.0)
    assert "secret word" not in str(caught.value.__cause__)
    assert "hide_parameters" in str(caught.value.__cause__)
    library.close()


# --- the key


def test_a_library_is_opened_with_its_own_key_only(plain: LibraryConfig, encrypted: LibraryConfig) -> None:
    for config in (plain, encrypted):
        library = Library(config)
        add(library, "a.txt", ["some words"])
        library.close()
    cases = [
        (with_key(encrypted, OTHER_KEY), "encrypted with another key"),
        (with_key(encrypted, None), "is encrypted. Set PRISM_ENCRYPTION_KEY"),
        (with_key(plain, KEY), "is not encrypted.*Remove that variable"),
    ]
    for config, message in cases:
        before = contents(config.folder)
        for work in (lambda config=config: Library(config), lambda config=config: run_offline(config, "rebuild")):
            with pytest.raises(ModelNotLoaded, match=message) as caught:
                work()
            assert "key, long enough" not in str(caught.value)
        assert contents(config.folder) == before
    for config in (plain, encrypted):
        assert run_offline(config, "verify").problems == []
        library = Library(config)
        assert found(library, "words") == ["some words"]
        library.close()


def test_a_key_file_that_is_missing_damaged_or_of_another_library_is_named(
    plain: LibraryConfig, encrypted: LibraryConfig, tmp_path: Path
) -> None:
    for config in (plain, encrypted):
        Library(config).close()
    path = encrypted.folder / "encryption.json"
    content = path.read_text()
    salt = json.loads(content)["salt"]
    for damaged in (
        "",
        "{}",
        content[:-5],
        content.replace(salt, "zz"),
        "[]",
        content.replace('"format": 1', '"format": 2'),
    ):
        path.write_text(damaged)
        with pytest.raises(ModelNotLoaded, match="copy of the folder|newer version"):
            Library(encrypted)
    path.write_text(content.replace(salt, salt[::-1]))
    with pytest.raises(ModelNotLoaded, match="another key"):
        Library(encrypted)
    path.unlink()
    with pytest.raises(ModelNotLoaded, match=r"encryption\.json is missing"):
        Library(encrypted)
    path.write_text(content)
    Library(encrypted).close()
    shutil.copy(path, plain.folder)
    for key in (None, KEY):
        with pytest.raises(ModelNotLoaded, match="parts of two libraries"):
            Library(with_key(plain, key))


def test_a_library_whose_making_broke_off_is_made_with_the_same_key(encrypted: LibraryConfig) -> None:
    Library(encrypted).close()
    (encrypted.folder / "library.db").write_bytes(b"")
    (encrypted.folder / "encryption.json.new").write_text("half")
    library = Library(encrypted)
    assert upload(library, "a.txt").file_id == 1
    library.close()


def test_a_short_key_is_refused_and_no_key_is_shown(encrypted: LibraryConfig) -> None:
    with pytest.raises(ValidationError, match="PRISM_ENCRYPTION_KEY must have at least 16 characters") as caught:
        LibraryConfig(encryption_key=SecretStr("not so long"))
    assert "not so long" not in str(caught.value)
    for shown in (repr(encrypted), str(encrypted), encrypted.model_dump_json(), str(encrypted.model_dump())):
        assert KEY.get_secret_value() not in shown
    Library(encrypted).close()
    keys = keys_of(encrypted.folder, KEY.get_secret_value())
    assert len({keys.database, keys.originals, keys.names}) == 3
    assert all(value.hex() not in repr(keys) and str(value) not in repr(keys) for value in vars(keys).values())


def test_the_deployment_says_what_to_do_about_the_key(
    encrypted: LibraryConfig, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        library = LibraryDeployment(encrypted)
        added = await library.add_file(as_media(b"abc" * 50_000), new_file("a.txt"), deadline=time.time() + 30)
        part = await library.original_part(added.file.file_id, 65_530, 65_542, deadline=time.time() + 30)
        assert part == (b"abc" * 50_000)[65_530:65_542]

    async def without_the_key() -> None:
        library = LibraryDeployment(with_key(encrypted, OTHER_KEY))
        with pytest.raises(ModelNotLoaded, match="another key than PRISM_ENCRYPTION_KEY has now"):
            await library.stats(deadline=time.time() + 30)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(work())
        asyncio.run(without_the_key())
    assert "long enough" not in caplog.text


# --- what was changed on the disk


def stored_original(config: LibraryConfig, checksum: str) -> Path:
    name = Originals(config.folder / "originals", keys_of(config.folder, KEY.get_secret_value())).name(checksum)
    return config.folder / "originals" / name[:2] / name


def test_a_changed_original_is_noticed_wherever_it_is_read(encrypted: LibraryConfig) -> None:
    library = Library(encrypted)
    first, second = (upload(library, name, name * 50_000) for name in ("one", "two"))
    path = stored_original(encrypted, first.checksum)
    content = path.read_bytes()
    changes = {
        "changed": content[:100_000] + b"x" + content[100_001:],
        "cut off": content[: 24 + 65_552],
        "another file": stored_original(encrypted, second.checksum).read_bytes(),
        "empty": b"",
    }
    for changed in changes.values():
        path.write_bytes(changed)
        for work in (
            lambda: library.original(first.file_id),
            lambda: library.original_part(first.file_id, 65_536, 150_000),
        ):
            with pytest.raises(ProcessingFailed, match="original of file 1 has changed on the disk"):
                work()
        assert library.verify(soon()).problems == ["The original of file 1 (one) has changed on the disk."]
    path.write_bytes(content)
    assert library.verify(soon()).problems == []
    assert bytes(library.original(first.file_id)) == b"one" * 50_000
    library.close()


@pytest.mark.slow
def test_every_changed_page_of_the_database_is_noticed(encrypted: LibraryConfig) -> None:
    library = Library(encrypted)
    add(library, "a.txt", [f"some text {i}" for i in range(20)])
    library.delete_file(upload(library, "b.txt" * 5000).file_id)  # leaves free pages
    library.close()
    path = encrypted.folder / "library.db"
    content = path.read_bytes()
    for number in range(len(content) // PAGE):
        changed = bytearray(content)
        changed[number * PAGE + 1000] ^= 1
        path.write_bytes(changed)
        for action in ("verify", "rebuild") if number % 10 == 0 else ("verify",):
            problems = run_offline(encrypted, action).problems
            assert problems, f"page {number + 1}"
            assert all("The database is damaged" in problem for problem in problems)
            assert all("Restore the folder from a copy" in problem for problem in problems)
    swapped = content[: 5 * PAGE] + content[6 * PAGE : 7 * PAGE] + content[5 * PAGE : 6 * PAGE] + content[7 * PAGE :]
    path.write_bytes(swapped)
    assert run_offline(encrypted, "verify").problems
    path.write_bytes(content)
    assert run_offline(encrypted, "verify").problems == []


def test_verify_checks_the_pages_of_the_log_too(encrypted: LibraryConfig) -> None:
    library = Library(encrypted)
    library.checkpoint()
    word = make_word(random.Random(6))
    add(library, "a.txt", [word])

    def is_in_the_file() -> bool:
        pages = list(decrypted_pages(encrypted.folder, KEY.get_secret_value()))
        num_pages = (encrypted.folder / "library.db").stat().st_size // PAGE
        return any(word.encode() in page for page in pages[:num_pages])

    assert not is_in_the_file()
    assert library.verify(soon()).problems == []
    assert is_in_the_file()
    library.close()


@pytest.mark.parametrize("part", ["start", "end"])
def test_a_damaged_page_harms_only_what_is_on_it(encrypted: LibraryConfig, part: str) -> None:
    library = Library(encrypted)
    add(library, "a.txt", ["some words"])
    word = make_word(random.Random(5))
    library.add_history(f"{word} " * 500, 1, 1.0)
    library.close()
    path = encrypted.folder / "library.db"
    pages = decrypted_pages(encrypted.folder, KEY.get_secret_value())
    [start, end] = [number for number, page in enumerate(pages) if word.encode() in page]
    content = bytearray(path.read_bytes())
    content[{"start": start, "end": end}[part] * PAGE + 1000] ^= 1
    path.write_bytes(content)
    library = Library(encrypted)
    for number in range(3):
        with pytest.raises(DatabaseError) as caught:
            library.history(10, 0)
        assert is_damaged(caught.value)
        with pytest.raises(DatabaseError), library._database.writing() as session:
            session.execute(text("UPDATE history SET query = query || '.'"))
        assert library.file(1).status == "completed"
        assert found(library, "words") == ["some words"]
        assert upload(library, f"{number}.txt").status == "pending"
    assert library.verify(soon()).problems != []
    library.close()


def test_sqlite_and_sqlcipher_split_text_into_the_same_terms(encrypted: LibraryConfig) -> None:
    characters = [chr(code) for code in range(0x20, 0x3000) if chr(code).isprintable()]
    texts = [f"a{character}bing {character} {character}ed runs{character}" for character in characters]
    library = Library(encrypted)
    add(library, "a.txt", [" ".join(texts[i : i + 500]) for i in range(0, len(texts), 500)])
    with library._database.reading() as session:
        indexed = set(library._words.terms(session))
    terms = Terms()  # with Python's SQLite, as the searcher has it
    assert indexed == set(terms.distinct([*texts, "a.txt"]))
    assert len(indexed) > 5000
    terms.close()
    library.close()


# --- earlier versions


@pytest.mark.parametrize("version", revisions())
def test_an_encrypted_library_of_each_version_is_opened(version: str, encrypted: LibraryConfig) -> None:
    from sqlcipher3 import dbapi2

    encrypted.folder.mkdir()
    keys = keys_of(encrypted.folder, KEY.get_secret_value())
    earlier = EARLIER_VERSIONS / version
    with dbapi2.connect(str(encrypted.folder / "library.db")) as connection:
        connection.execute(f"PRAGMA key = \"x'{keys.database.hex()}'\"")
        connection.execute(f"ATTACH DATABASE '{earlier / 'library.db'}' AS earlier KEY ''")
        connection.execute("SELECT sqlcipher_export('main', 'earlier')")
        checksums = [checksum for (checksum,) in connection.execute("SELECT checksum FROM files")]
    connection.close()
    plain, originals = Originals(earlier / "originals"), Originals(encrypted.folder / "originals", keys)
    for checksum in checksums:
        originals.keep(originals.write(plain.read(checksum), checksum), checksum)
    (earlier / "originals" / "incoming").rmdir()
    library = Library(encrypted)
    assert library.verify(soon()).problems == []
    assert bytes(library.original(1)) == b"The budget grew. Travel shrank."
    assert found(library, "travel") == ["Travel shrank."]
    assert index(library, ["new words"]).file_id == 2
    library.close()
