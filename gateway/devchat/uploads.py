"""Where do uploaded files and avatars lie, and who may fetch them?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from starlette.datastructures import FormData, UploadFile

from gateway.devchat.accounts import resume
from gateway.devchat.errors import ChatError, NotLoggedInError
from gateway.devchat.models import Room, User
from gateway.devchat.store import Store
from gateway.devchat.wire import Document, Moment, random_id

UNCONFIRMED_LIFETIME_MS = 24 * 3600 * 1000
SAFE_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
AVATAR_COLOURS = ("#5b3fb5", "#0b6e4f", "#9c3d10", "#1f5fa8", "#8a2b62", "#5d5a0a")


@dataclass(frozen=True, slots=True)
class Image:
    content: bytes
    type: str


class Uploads:
    """Files on disk below one folder, each under its id; what is known of them stands in the store."""

    def __init__(self, *, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def keep_file(self, *, form: FormData | None, room: Room, user: User) -> Document:
        upload = _upload(form, "file")
        if upload is None:
            raise ChatError("invalid-field", "[invalid-field]")
        self._check(upload)
        self._drop_unconfirmed()
        file_id, name = random_id(), (upload.filename or "file").replace("/", "_").replace("\0", "")
        file: Document = {
            "_id": file_id,
            "name": name,
            "type": upload.content_type or "application/octet-stream",
            "size": upload.size or 0,
            "format": name.rpartition(".")[2] if "." in name else "",
            "rid": room.id,
            "userId": user.id,
            "uploadedAt": Moment(self._store.now()),
            "url": f"/file-upload/{file_id}/{quote(name)}",
            "is_confirmed": False,
        }
        self._write(file_id, upload.file.read())
        self._store.files[file_id] = file
        self._store.changes += 1
        return file

    def _check(self, upload: UploadFile) -> None:
        switches = self._store.switches
        if (upload.size or 0) > switches.max_file_size:
            raise ChatError("error-file-too-large", f"File exceeds allowed size of {switches.max_file_size} bytes")
        if upload.content_type in [entry.strip() for entry in switches.blocked_media_types.split(",")]:
            raise ChatError("error-invalid-file-type", f"File type {upload.content_type} is not accepted")

    def _drop_unconfirmed(self) -> None:
        limit = self._store.now() - UNCONFIRMED_LIFETIME_MS
        for file in [
            file for file in self._store.files.values() if not file["is_confirmed"] and file["uploadedAt"] < limit
        ]:
            self._store.files.pop(file["_id"])
            (self._folder / file["_id"]).unlink(missing_ok=True)

    def image_of(self, form: FormData) -> Image | None:
        upload = _upload(form, "image")
        if upload is None:
            return None
        if upload.content_type not in SAFE_IMAGES:
            raise ChatError("error-invalid-file-type", "Avatars are PNG, JPEG, GIF or WebP images")
        return Image(upload.file.read(), upload.content_type or "image/png")

    def keep_avatar(self, user: User, image: Image) -> None:
        user.avatar_etag, user.avatar_type = random_id(), image.type
        self._write(f"avatar-{user.id}", image.content)

    def path_of(self, file_id: str) -> Path:
        return self._folder / file_id

    def avatar_of(self, username: str) -> Image:
        user = self._store.user_named(username)
        path = self._folder / f"avatar-{user.id}" if user and user.avatar_etag else None
        if user is not None and path is not None and path.exists():
            return Image(path.read_bytes(), user.avatar_type)
        return Image(letter_avatar(username).encode(), "image/svg+xml")

    def reader(
        self, *, headers: Mapping[str, str], query: Mapping[str, str], cookies: Mapping[str, str]
    ) -> User | None:
        """Whoever shows a token by headers, query or cookie, as browsers and clients do."""
        for source, user_key, token_key in (
            (headers, "x-user-id", "x-auth-token"),
            (query, "rc_uid", "rc_token"),
            (cookies, "rc_uid", "rc_token"),
        ):
            if source.get(token_key):
                try:
                    user, _ = resume(self._store, source[token_key])
                except NotLoggedInError:
                    continue
                if user.id == source.get(user_key):
                    return user
        return None

    def may_read(self, user: User | None, file: Document) -> bool:
        room = self._store.rooms.get(file["rid"])
        return user is not None and room is not None and self._store.can_access(user, room)

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_bytes(content)


def _upload(form: FormData | None, field: str) -> UploadFile | None:
    value = form.get(field) if form is not None else None
    return value if isinstance(value, UploadFile) else None


def letter_avatar(username: str) -> str:
    colour = AVATAR_COLOURS[sum(username.encode()) % len(AVATAR_COLOURS)]
    letter = next((sign for sign in username if sign.isalnum()), "?").upper()
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 200">'
        f'<rect width="200" height="200" fill="{colour}"/>'
        '<text x="50%" y="50%" dy="0.36em" text-anchor="middle" fill="#fff" '
        f'font-family="Helvetica,Arial,sans-serif" font-size="125">{letter}</text></svg>'
    )
