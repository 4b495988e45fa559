import os
import socket
from pathlib import Path

import pytest

from deployments.errors import Forbidden, InvalidFile, InvalidRequest, NotFound, ServiceError
from serve_app import allowed_folders
from serve_app.allowed_folders import open_allowed


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    folder = tmp_path / "allowed"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "er" / "b.txt").write_text("b")
    (tmp_path / "allowed too").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def read(path: "Path | str", *folders: Path) -> bytes:
    with open_allowed(str(path), folders) as file:
        return file.read()


@pytest.mark.parametrize("path", ["a.txt", "deep/er/b.txt", "deep/../a.txt", "deep/er/../../a.txt", "./a.txt"])
def test_files_in_an_allowed_folder_are_opened(allowed: Path, path: str) -> None:
    assert read(f"{allowed}/{path}", allowed) in (b"a", b"b")


def test_a_link_within_the_folder_is_followed(allowed: Path) -> None:
    (allowed / "link.txt").symlink_to(allowed / "a.txt")
    (allowed / "folder").symlink_to(allowed / "deep")
    assert read(allowed / "link.txt", allowed) == b"a"
    assert read(allowed / "folder" / "er" / "b.txt", allowed) == b"b"


def test_the_allowed_folder_may_be_a_link(allowed: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(allowed)
    assert read(tmp_path / "link" / "a.txt", tmp_path / "link") == b"a"
    assert read(allowed / "a.txt", tmp_path / "link") == b"a"


def test_the_home_folder_has_its_short_name(allowed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(allowed))
    assert read("~/a.txt", allowed) == b"a"


def test_without_a_setting_no_folder_is_allowed_and_the_error_names_it(allowed: Path) -> None:
    with pytest.raises(Forbidden, match="MCP_FOLDERS"):
        read(allowed / "a.txt")


@pytest.mark.parametrize(
    "path",
    [
        "secret.txt",
        "allowed/../secret.txt",
        "allowed/link.txt",
        "allowed/up/secret.txt",
        "allowed too/secret.txt",
        "no such file",
        "allowed",
        "/etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
        "/",
    ],
)
def test_what_is_outside_is_refused_alike_whether_or_not_it_is_there(allowed: Path, tmp_path: Path, path: str) -> None:
    (allowed / "link.txt").symlink_to(tmp_path / "secret.txt")
    (allowed / "up").symlink_to(tmp_path)
    with pytest.raises(Forbidden, match="is not within a folder that tools may read"):
        read(tmp_path / path, allowed)


@pytest.mark.parametrize("path", ["a.txt", "../secret.txt", "", "~nobody-of-this-name/a", "/a\0b", "/" + "a" * 5000])
def test_what_is_no_whole_path_is_refused(allowed: Path, path: str) -> None:
    with pytest.raises((InvalidRequest, Forbidden)):
        read(path, allowed)


def test_a_loop_of_links_is_refused(allowed: Path) -> None:
    (allowed / "loop").symlink_to(allowed / "loop")
    with pytest.raises(ServiceError):
        read(allowed / "loop", allowed)


@pytest.mark.parametrize("path", ["no such file", "no folder/a.txt", "a.txt/b"])
def test_what_is_not_there_is_not_found(allowed: Path, path: str) -> None:
    with pytest.raises(NotFound):
        read(allowed / path, allowed)


def test_only_files_are_opened(allowed: Path) -> None:
    os.mkfifo(allowed / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(allowed / "socket"))
        for name in ("pipe", "socket", "deep"):
            with pytest.raises(InvalidFile):
                read(allowed / name, allowed)


@pytest.mark.parametrize("swapped", ["a.txt", "deep"])
def test_a_link_that_appears_after_the_check_is_not_followed(
    allowed: Path, tmp_path: Path, swapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    locate = allowed_folders._locate
    (tmp_path / "er").mkdir()
    (tmp_path / "er" / "b.txt").write_text("secret")

    def locate_and_swap(path: str, folders: tuple[Path, ...]) -> object:
        located = locate(path, folders)
        (allowed / swapped).rename(allowed / "moved")
        (allowed / swapped).symlink_to(tmp_path if swapped == "deep" else tmp_path / "secret.txt")
        return located

    monkeypatch.setattr(allowed_folders, "_locate", locate_and_swap)
    with pytest.raises(ServiceError):
        read(allowed / ("deep/er/b.txt" if swapped == "deep" else "a.txt"), allowed)
