"""The picture for those who run a session and those who watch it again: its state, the stream key, the other
networks it goes to, its recording with clips. `API` is mounted under /api/v1, `PAGES` at /.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.handlers import delete
from litestar.params import FromPath, JSONBody, URLEncodedBody

from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import Invalid, NotFound
from commerce.core.i18n import N_, current_language, translate
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.live import outlets, queries, replays, service
from commerce.live.errors import RecordingNotFound
from commerce.live.models import LiveSession, LiveState
from commerce.live.queries import Session
from commerce.live.replays import KEEPERS, DealThen
from commerce.live.rooms import rooms
from streaming.video.wire import News

staff = access.roles(*service.STAFF)
editors = access.roles(*service.STAFF, *KEEPERS)
keepers = access.roles(*KEEPERS)

SLOW_KEYS_S = 2.5  # seconds between key frames from which on viewers wait too long


# ---- what programs get


class OutletOut(msgspec.Struct, kw_only=True):
    """Another network the session goes to. Its key is never told again."""

    id: int
    name: str
    host: str
    paused: bool
    state: str
    """`off` (the session has no picture now), `paused`, `connecting`, `sending`, `failed`, `refused`."""
    text: str
    """The same for a person."""


class PictureOut(msgspec.Struct, kw_only=True):
    """How the picture is now, for the console."""

    state: str
    """`none`, `on_air`, `gap` (nothing comes just now)."""
    source: str = ""
    """`browser` or `rtmp`."""
    width: int = 0
    height: int = 0
    kbit_per_s: int = 0
    frames_per_s: float = 0
    gap_s: float = 0
    text: str = ""
    """For a person: what is going on, and what to mend."""
    warning: bool = False
    outlets: list[OutletOut]


class StreamKeyOut(msgspec.Struct):
    address: str
    """The server, as OBS and Larix ask for it."""
    key: str
    """Show it to nobody: who has it can send."""

    def __repr__(self) -> str:
        return f"StreamKeyOut({self.address})"


class OutletRequest(msgspec.Struct):
    name: str = ""
    address: str = ""
    key: str = ""

    def __repr__(self) -> str:
        return f"OutletRequest({self.name})"


class FileOut(msgspec.Struct):
    url: str
    sha256: str
    size: int


class ChapterOut(msgspec.Struct, kw_only=True):
    id: int
    code: str
    product: str
    grade: str
    unit: str
    price: int | None
    from_ms: int
    to_ms: int
    clip_url: str | None


class ReplayOut(msgspec.Struct, kw_only=True):
    """A recording with what was shown when. Moments are Unix milliseconds, as in the playlist's
    PROGRAM-DATE-TIME."""

    playback_url: str
    began_ms: int
    duration_ms: int
    kept_until: datetime
    held: bool
    files: list[FileOut]
    chapters: list[ChapterOut]
    deals: list[DealThen]


class ClipRequest(msgspec.Struct):
    chapter: int


class ClipOut(msgspec.Struct, kw_only=True):
    url: str
    sha256: str
    size: int
    began_at: datetime
    duration_ms: int


class HoldRequest(msgspec.Struct):
    note: str = ""


def media_base(settings: Settings, code: str) -> str:
    """Where a session's media is, for pages: below a CDN when one is set, else below ourselves."""
    return f"{settings.extra.get('MEDIA_URL', '')}/media/{code}/"


def replay_out(settings: Settings, session: Session, found: replays.Replay) -> ReplayOut:
    base = media_base(settings, session.code)
    return ReplayOut(
        playback_url=f"{base}index.m3u8",
        began_ms=found.began_ms,
        duration_ms=found.duration_ms,
        kept_until=found.kept_until,
        held=found.held,
        files=[FileOut(base + one.path, one.sha256, one.size) for one in found.files],
        chapters=[
            ChapterOut(
                id=one.id,
                code=one.code,
                product=one.product,
                grade=one.grade,
                unit=one.unit,
                price=one.price,
                from_ms=one.from_ms,
                to_ms=one.to_ms,
                clip_url=base + one.clip if one.clip else None,
            )
            for one in found.chapters
        ],
        deals=found.deals,
    )


# ---- the picture now


def picture_out(news: News | None, known: list[outlets.OutletView]) -> PictureOut:
    states = news.targets if news else {}
    shown = [_outlet_out(one, states.get(str(one.id))) for one in known]
    if news is None or news.kind in ("ended", "refused"):
        text = news.text if news and news.kind == "refused" else ""
        return PictureOut(state="none", text=text, warning=bool(text), outlets=shown)
    text = ""
    if news.kind == "gap":
        text = translate(N_("Chưa nhận được hình. Người xem đang đợi."))
    elif news.source == "rtmp" and news.key_every_s > SLOW_KEYS_S:
        text = translate(
            N_("Trong OBS hãy đặt khoảng cách khung hình khoá là 1 hoặc 2 giây để người xem bớt trễ.")
        )
    return PictureOut(
        state="gap" if news.kind == "gap" else "on_air",
        source=news.source,
        width=news.width,
        height=news.height,
        kbit_per_s=news.kbit_per_s,
        frames_per_s=news.frames_per_s,
        gap_s=news.gap_s,
        text=text,
        warning=bool(text),
        outlets=shown,
    )


def _outlet_out(outlet: outlets.OutletView, said: str | None) -> OutletOut:
    state, text = ("paused", N_("Tạm dừng")) if outlet.paused else _state(said)
    return OutletOut(
        id=outlet.id,
        name=outlet.name,
        host=outlet.host,
        paused=outlet.paused,
        state=state,
        text=translate(text),
    )


def _state(said: str | None) -> tuple[str, str]:
    """(state, sentence) of what a relay says (`streaming.video.restream`)."""
    if said is None:
        return "off", N_("Chờ hình của phiên")
    if said == "sending":
        return "sending", N_("Đang phát")
    if said in ("waiting", "connecting"):
        return "connecting", N_("Đang nối…")
    if said.startswith("refused"):
        return "refused", N_("Địa chỉ này nằm trong mạng nội bộ nên không phát sang được.")
    if "refused:" in said:
        return "failed", N_("Kênh từ chối. Xin xem lại khoá phát. Đang tự thử lại.")
    return "failed", N_("Chưa nối được với kênh. Đang tự thử lại.")


@get("/live-sessions/{code:str}/picture", opt=staff)
async def picture(
    request: AnyRequest,
    code: FromPath[str],
    settings: NamedDependency[Settings],
    identity: NamedDependency[Identity],
) -> PictureOut:
    """How the picture is now and how each other network takes it; ask every few seconds."""
    session = await _own(identity, code)
    news = await request.app.state.pictures.status(identity, code)
    async with sessions.read() as db:
        known = await outlets.outlets(db, settings, session.id)
    return picture_out(news if session.state == LiveState.LIVE else None, known)


@get("/live-sessions/{code:str}/stream-key", opt=staff)
async def show_stream_key(
    code: FromPath[str], settings: NamedDependency[Settings], identity: NamedDependency[Identity]
) -> StreamKeyOut:
    """For OBS and Larix. The key is empty until one was made; it opens nothing before the session is live."""
    session = await _own(identity, code)
    async with sessions.read() as db:
        generation = (await db.get_one(LiveSession, session.id)).stream_key
    key = outlets.stream_key(settings, session.code, generation)
    return StreamKeyOut(outlets.rtmp_address(settings), key)


@post("/live-sessions/{code:str}/stream-key", opt=staff, status_code=200)
async def new_stream_key(
    code: FromPath[str], settings: NamedDependency[Settings], identity: NamedDependency[Identity]
) -> StreamKeyOut:
    """A new key; the one before opens nothing any more."""
    generation = await outlets.rotate_stream_key(identity, code)
    key = outlets.stream_key(settings, code.upper(), generation)
    return StreamKeyOut(outlets.rtmp_address(settings), key)


@post("/live-sessions/{code:str}/outlets", opt=staff, status_code=201)
async def add_outlet(
    code: FromPath[str],
    data: JSONBody[OutletRequest],
    settings: NamedDependency[Settings],
    identity: NamedDependency[Identity],
) -> OutletOut:
    """Send the session on to another network's RTMP address. 422 `invalid`."""
    made = await outlets.add_outlet(
        identity, settings, code, name=data.name, address=data.address, key=data.key
    )
    session = await _own(identity, code)
    async with sessions.read() as db:
        known = {one.id: one for one in await outlets.outlets(db, settings, session.id)}
    return _outlet_out(known[made], None)


@post("/live-sessions/{code:str}/outlets/{outlet:int}/pause", opt=staff, status_code=202)
async def pause_outlet(
    code: FromPath[str], outlet: FromPath[int], identity: NamedDependency[Identity]
) -> None:
    await outlets.pause_outlet(identity, code, outlet, paused=True)


@post("/live-sessions/{code:str}/outlets/{outlet:int}/resume", opt=staff, status_code=202)
async def resume_outlet(
    code: FromPath[str], outlet: FromPath[int], identity: NamedDependency[Identity]
) -> None:
    await outlets.pause_outlet(identity, code, outlet, paused=False)


@delete("/live-sessions/{code:str}/outlets/{outlet:int}", opt=staff)
async def remove_outlet(
    code: FromPath[str], outlet: FromPath[int], identity: NamedDependency[Identity]
) -> None:
    """Its address and key are forgotten."""
    await outlets.remove_outlet(identity, code, outlet)


# ---- the recording


@get("/live-sessions/{code:str}/replay", opt=access.public)
async def show_replay(code: FromPath[str], settings: NamedDependency[Settings]) -> ReplayOut:
    """The recording of a session that is over, with its SHA-256, and what was shown when. 404 while there is
    none; 410 when it was taken down."""
    async with sessions.read() as db:
        session = await queries.by_code(db, code)
        found = await replays.replay(db, session.id) if session.state == LiveState.ENDED else None
    if found is None:
        raise RecordingNotFound
    return replay_out(settings, session, found)


@post("/live-sessions/{code:str}/clips", opt=editors, status_code=201)
async def cut_clip(
    request: AnyRequest,
    code: FromPath[str],
    data: JSONBody[ClipRequest],
    settings: NamedDependency[Settings],
    identity: NamedDependency[Identity],
) -> ClipOut:
    """The minutes of one chapter as a file of its own, not encoded again. Twenty minutes at most."""
    clip = await replays.cut_clip(identity, request.app.state.pictures, code, data.chapter)
    return ClipOut(
        url=f"{media_base(settings, code.upper())}recording/clip-{clip.name}.mp4",
        sha256=clip.sha256,
        size=clip.size,
        began_at=clip.began_at,
        duration_ms=clip.duration_ms,
    )


@post("/live-sessions/{code:str}/recording/hold", opt=keepers, status_code=200)
async def hold(
    request: AnyRequest,
    code: FromPath[str],
    data: JSONBody[HoldRequest],
    identity: NamedDependency[Identity],
) -> None:
    """Legal hold: nothing of the recording is deleted until it is released."""
    await replays.hold(identity, request.app.state.pictures, code, data.note)


@post("/live-sessions/{code:str}/recording/release", opt=keepers, status_code=200)
async def release(request: AnyRequest, code: FromPath[str], identity: NamedDependency[Identity]) -> None:
    await replays.release(identity, request.app.state.pictures, code)


@delete("/live-sessions/{code:str}/recording", opt=staff)
async def delete_recording(
    request: AnyRequest, code: FromPath[str], identity: NamedDependency[Identity]
) -> None:
    """A rehearsal's recording, at the wish of those who made it. 409 `recording_kept` for any other."""
    await replays.delete_rehearsal(identity, request.app.state.pictures, code)
    rooms.forget(code)


API: list[Any] = [
    picture,
    show_stream_key,
    new_stream_key,
    add_outlet,
    pause_outlet,
    resume_outlet,
    remove_outlet,
    show_replay,
    cut_clip,
    hold,
    release,
    delete_recording,
]


# ---- the console's parts


async def outlets_context(settings: Settings, session: Session, news: News | None) -> dict[str, Any]:
    """For host/outlets.html."""
    async with sessions.read() as db:
        known = await outlets.outlets(db, settings, session.id)
        generation = (await db.get_one(LiveSession, session.id)).stream_key
    return {
        "rtmp_address": outlets.rtmp_address(settings),
        "stream_key": outlets.stream_key(settings, session.code, generation),
        "picture": msgspec.to_builtins(picture_out(news, known)),
    }


async def recording_context(request: AnyRequest, settings: Settings, session: Session) -> dict[str, Any]:
    """For host/recording.html: the recording of a session that is over, None without one, and the advice
    after a rehearsal."""
    async with sessions.read() as db:
        found = await replays.replay(db, session.id)
        row = await db.get_one(LiveSession, session.id)
        told = []
        if found and session.rehearsal:
            told = await replays.advice(db, request.app.state.pictures.archive, row)
    shown = msgspec.to_builtins(replay_out(settings, session, found)) if found else None
    if found and shown:
        shown |= {"kept_until": found.kept_until, "seconds": found.duration_ms // 1000}
        for chapter in shown["chapters"]:
            chapter["at_s"] = max(0, (chapter["from_ms"] - found.began_ms) // 1000)
            chapter["seconds"] = (chapter["to_ms"] - chapter["from_ms"]) // 1000
    return {
        "recording": shown,
        "waiting": found is None and bool(session.playback) and _just_over(session),
        "advice": [translate(one.text) for one in told],
    }


def _just_over(session: Session) -> bool:
    return session.ended_at is not None and (clock.now() - session.ended_at).total_seconds() < 3600


@get("/host/{code:str}/outlets", opt=staff, include_in_schema=False)
async def outlets_part(
    request: AnyRequest,
    code: FromPath[str],
    settings: NamedDependency[Settings],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """The console's part about OBS and other networks, to be put in place again after a change."""
    session = await _own(identity, code)
    news = await request.app.state.pictures.status(identity, code)
    return page(
        request,
        "host/outlets.html",
        session={"code": session.code, "state": session.state.value, "rehearsal": session.rehearsal},
        **await outlets_context(settings, session, news),
    )


@post("/host/{code:str}/stream-key", opt=staff, include_in_schema=False)
async def stream_key_form(code: FromPath[str], identity: NamedDependency[Identity]) -> Response[str]:
    await outlets.rotate_stream_key(identity, code)
    return redirect(f"/host/{code.upper()}#outlets")


@post("/host/{code:str}/outlets", opt=staff, include_in_schema=False)
async def outlet_form(
    code: FromPath[str],
    data: URLEncodedBody[OutletRequest],
    settings: NamedDependency[Settings],
    identity: NamedDependency[Identity],
) -> Response[str]:
    await outlets.add_outlet(identity, settings, code, name=data.name, address=data.address, key=data.key)
    return redirect(f"/host/{code.upper()}#outlets")


@post("/host/{code:str}/outlets/{outlet:int}/{act:str}", opt=staff, include_in_schema=False)
async def outlet_act(
    code: FromPath[str], outlet: FromPath[int], act: FromPath[str], identity: NamedDependency[Identity]
) -> Response[str]:
    match act:
        case "pause" | "resume":
            await outlets.pause_outlet(identity, code, outlet, paused=act == "pause")
        case "remove":
            await outlets.remove_outlet(identity, code, outlet)
        case _:
            raise NotFound
    return redirect(f"/host/{code.upper()}#outlets")


@post("/host/{code:str}/clips", opt=editors, include_in_schema=False)
async def clip_form(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[ClipRequest],
    identity: NamedDependency[Identity],
) -> Response[str]:
    await replays.cut_clip(identity, request.app.state.pictures, code, data.chapter)
    return redirect(f"/host/{code.upper()}#chapter-{data.chapter}")


@post("/host/{code:str}/delete-recording", opt=staff, include_in_schema=False)
async def delete_form(
    request: AnyRequest, code: FromPath[str], identity: NamedDependency[Identity]
) -> Response[str]:
    await replays.delete_rehearsal(identity, request.app.state.pictures, code)
    rooms.forget(code)
    return redirect(f"/host/{code.upper()}")


@post("/host/{code:str}/rehearse", opt=staff, include_in_schema=False)
async def rehearse_form(code: FromPath[str], identity: NamedDependency[Identity]) -> Response[str]:
    """A rehearsal of a planned session, ready to begin."""
    made = await service.rehearse(identity, code)
    return redirect(f"/host/{made.code}")


# ---- for those who keep recordings


class KeepForm(msgspec.Struct):
    note: str = ""
    reason: str = ""


@get("/office/recordings", opt=keepers, include_in_schema=False)
async def recordings_page(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    return await _recordings(request, identity)


@post("/office/recordings/{code:str}/{act:str}", opt=keepers, include_in_schema=False)
async def recordings_act(
    request: AnyRequest,
    code: FromPath[str],
    act: FromPath[str],
    data: URLEncodedBody[KeepForm],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """Hold, release, take down; leads back to the list."""
    pictures, code = request.app.state.pictures, code.upper()
    try:
        match act:
            case "hold":
                await replays.hold(identity, pictures, code, data.note)
            case "release":
                await replays.release(identity, pictures, code)
            case "takedown":
                await service.takedown(identity, code, data.reason)
                rooms.forget(code)
            case _:
                raise NotFound
    except Invalid as error:
        faults = {code: error.errors[0].text(current_language.get())}
        return await _recordings(request, identity, status=error.status, errors=faults)
    return redirect(f"/office/recordings#{code}")


async def _recordings(
    request: AnyRequest, identity: Identity, *, status: int = 200, errors: dict[str, str] | None = None
) -> Response[str]:
    places = frozenset({None}) if identity.has(Role.ADMIN) else identity.communes(*KEEPERS)
    async with sessions.read() as db:
        rows = await replays.kept(db, places)
        log = await replays.deletions(db, places)
    return page(
        request,
        "office/recordings.html",
        status=status,
        recordings=[
            {
                "code": session.code,
                "title": session.title,
                "commune": commune,
                "began_at": one.began_at,
                "seconds": one.duration_ms // 1000,
                "size": one.size,
                "kept_until": one.kept_until,
                "held_at": one.held_at,
                "hold_note": one.hold_note,
                "taken_down": session.state == LiveState.TAKEN_DOWN,
                "deleted_at": one.deleted_at,
                "files": one.files,
            }
            for one, session, commune in rows
        ],
        deletions=[
            {"code": one.code, "why": one.why, "by": name, "objects": one.objects, "bytes": one.bytes}
            | {"at": one.at, "done_at": one.done_at}
            for one, name in log
        ],
        errors=errors or {},
    )


PAGES: list[Any] = [
    recordings_page,
    recordings_act,
    outlets_part,
    stream_key_form,
    outlet_form,
    outlet_act,
    clip_form,
    delete_form,
    rehearse_form,
]


async def _own(identity: Identity, code: str) -> Session:
    """Raises `SessionNotFound`, `Forbidden`."""
    async with sessions.read() as db:
        session = await queries.by_code(db, code)
    identity.must(session.commune.code, *service.STAFF)
    return session
