"""Files: two steps in, a token to get them out."""

import httpx

from tests.contract.conftest import Devchat, Person


def upload(devchat: Devchat, person: Person, room: str, name: str, content: bytes, kind: str) -> httpx.Response:
    return devchat.http.post(
        f"/api/v1/rooms.media/{room}", files={"file": (name, content, kind)}, headers=person.headers
    )


def test_a_file_is_uploaded_confirmed_and_fetched_by_members(
    devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    kept = upload(devchat, alice, room, "a plan.txt", b"at noon", "text/plain").json()["file"]
    before = alice.ok_get("groups.history", roomId=room)["messages"]

    message = alice.ok_post(f"rooms.mediaConfirm/{room}/{kept['_id']}", msg="our plan")["message"]

    assert before == []
    assert kept["url"] == f"/file-upload/{kept['_id']}/a%20plan.txt"
    assert message["msg"] == "our plan"
    assert message["file"] == {
        "_id": kept["_id"],
        "name": "a plan.txt",
        "type": "text/plain",
        "size": 7,
        "format": "txt",
    }
    assert message["files"] == [message["file"]]
    assert message["attachments"][0]["title_link"] == kept["url"]
    assert devchat.http.get(kept["url"], headers=bob.headers).content == b"at noon"
    query = {"rc_uid": bob.id, "rc_token": bob.token}
    assert devchat.http.get(kept["url"], params=query).content == b"at noon"


def test_strangers_get_no_file(devchat: Devchat, alice: Person, charlie: Person, room: str) -> None:
    kept = upload(devchat, alice, room, "plan.txt", b"at noon", "text/plain").json()["file"]

    assert devchat.http.get(kept["url"]).status_code == 403
    assert devchat.http.get(kept["url"], headers=charlie.headers).status_code == 403
    assert upload(devchat, charlie, room, "x.txt", b"x", "text/plain").status_code == 403
    assert devchat.http.get("/file-upload/none/x.txt", headers=alice.headers).status_code == 404


def test_confirming_twice_posts_twice(devchat: Devchat, alice: Person, room: str) -> None:
    kept = upload(devchat, alice, room, "plan.txt", b"at noon", "text/plain").json()["file"]

    for _ in range(2):
        alice.ok_post(f"rooms.mediaConfirm/{room}/{kept['_id']}")

    assert len(alice.ok_get("groups.history", roomId=room)["messages"]) == 2


def test_confirming_takes_no_unknown_keys_and_no_unknown_file(devchat: Devchat, alice: Person, room: str) -> None:
    kept = upload(devchat, alice, room, "plan.txt", b"at noon", "text/plain").json()["file"]

    assert alice.post(f"rooms.mediaConfirm/{room}/{kept['_id']}", colour="red").json()["errorType"] == "invalid-params"
    assert alice.post(f"rooms.mediaConfirm/{room}/none").json()["errorType"] == "invalid-file"


def test_large_files_and_blocked_types_are_refused(devchat: Devchat, alice: Person, room: str) -> None:
    devchat.switch(max_file_size=10)

    large = upload(devchat, alice, room, "large.bin", b"x" * 11, "application/octet-stream")
    svg = upload(devchat, alice, room, "x.svg", b"<svg/>", "image/svg+xml")
    missing = devchat.http.post(f"/api/v1/rooms.media/{room}", files={"other": b"x"}, headers=alice.headers)

    assert large.json()["errorType"] == "error-file-too-large"
    assert svg.json()["errorType"] == "error-invalid-file-type"
    assert missing.json()["errorType"] == "invalid-field"


def test_pages_and_scripts_are_downloads_and_never_run(devchat: Devchat, alice: Person, room: str) -> None:
    kept = upload(devchat, alice, room, "evil.html", b"<script>alert(1)</script>", "text/html").json()["file"]

    answer = devchat.http.get(kept["url"], headers=alice.headers)

    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_pictures_are_shown_and_replies_keep_their_thread(devchat: Devchat, alice: Person, room: str) -> None:
    root = alice.say(room, "root")
    kept = upload(devchat, alice, room, "p.png", b"\x89PNG", "image/png").json()["file"]

    message = alice.ok_post(f"rooms.mediaConfirm/{room}/{kept['_id']}", tmid=root["_id"])["message"]

    assert message["tmid"] == root["_id"]
    assert message["attachments"][0]["image_url"] == kept["url"]
    assert devchat.http.get(kept["url"], headers=alice.headers).headers["content-disposition"].startswith("inline")
    assert [file["name"] for file in alice.ok_get("groups.files", roomId=room)["files"]] == ["p.png"]
