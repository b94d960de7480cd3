"""A file from the first mirror that delivers it whole: resumed, bounded, its checksum verified."""

import hashlib
import os
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from kdbench.data.progress import Report, silent
from kdbench.errors import UserError
from kdbench.store.files import digest

_CHUNK = 1 << 18
_TIMEOUT = 30.0
_TRIES = 8
_RANGE_NOT_SATISFIABLE = 416


class MirrorError(Exception):
    """A mirror gave something else than the file."""


def download(urls: Sequence[str], path: Path, checksum: str, *, limit: int, report: Report = silent) -> None:
    """Bring the file with this md5 or sha256 to path, from the first of the urls that has it.

    An empty checksum takes what the first mirror has.

    What has arrived lies in `path.part`: a transfer that broke off is continued, now or in a later call,
    where the server can (HTTP ranges), and begun anew where it cannot. `path` itself appears only whole.

    Raises:
        UserError: no mirror delivered it; one sentence for each, and what to do.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    problems = []
    for url in urls:
        try:
            _deliver(url, part, checksum, limit, report)
        except (OSError, ValueError, HTTPException, MirrorError) as error:
            problems.append(f"  {url}: {_reason(error)}")
        else:
            part.replace(path)
            return
    hint = f"Put the file at {path} by hand, or name a mirror (its folder's URL) in KDBENCH_MIRRORS."
    held = f" ({kind(checksum)} {checksum})" if checksum else ""
    raise UserError(f"no mirror delivered {path.name}{held}:", *problems, hint)


def md5_of(path: Path) -> str:
    """The md5 of a file, as official lists give it: against mishaps, not against malice."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def kind(checksum: str) -> str:
    """Which checksum it is, by its length."""
    return "md5" if len(checksum) == 32 else "sha256"


def _deliver(url: str, part: Path, checksum: str, limit: int, report: Report) -> None:
    """Complete a part file, hold it against its checksum; once more where an old part may be to blame."""
    resumed = _size(part) > 0  # what is there may be of another file, or damaged
    _complete(url, part, limit, report)
    size = _size(part)
    got = md5_of(part) if kind(checksum) == "md5" else digest(part)
    if got == checksum or not checksum:
        return
    part.unlink()
    if not resumed:
        raise MirrorError(f"sent {size:,} bytes with {kind(checksum)} {got} instead of {checksum}")
    _deliver(url, part, checksum, limit, report)


def _complete(url: str, part: Path, limit: int, report: Report) -> None:
    """Transfer until nothing is missing, again after each break as long as something arrives."""
    for tries in range(1, _TRIES + 1):
        before = _size(part)
        try:
            _transfer(url, part, limit, report)
        except (OSError, HTTPException, MirrorError):
            if _size(part) <= before or tries == _TRIES:
                raise
        else:
            return


def _transfer(url: str, part: Path, limit: int, report: Report) -> None:
    """Fetch what a part file lacks, by a range request where the server knows them."""
    start = _size(part)
    try:
        response = _open(url, start)
    except HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE and start:
            return  # nothing is left to send: the checksum decides
        raise
    with response:
        start = start if _continues(response, start) else 0
        length = int(response.headers.get("Content-Length") or 0)
        total = start + length if length else 0
        if max(total, start) > limit:
            raise MirrorError(f"offers {total:,} bytes; the file has at most {limit:,}")
        done = _append(response, part, start, limit, lambda done: report(done, total))
    if done < total:
        raise MirrorError(f"broke off after {done:,} of {total:,} bytes")


def _open(url: str, start: int) -> HTTPResponse:
    """Ask for a file from byte `start` on; an address's password goes into a header, to this host alone."""
    if not url.startswith(("https://", "http://")):
        raise MirrorError("is no http or https address")
    headers = {"User-Agent": "kdbench", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    parts = urlsplit(url)
    named = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = Request(url, headers=headers)  # noqa: S310 - the scheme is checked above
    if named != ":":  # not where the mirror sends us on to
        request.add_unredirected_header("Authorization", f"Basic {b64encode(named.encode()).decode()}")
    return urlopen(request, timeout=_TIMEOUT)  # type: ignore[no-any-return]  # noqa: S310


def _continues(response: HTTPResponse, start: int) -> bool:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status == 206 and found is not None and int(found[1]) == start


def _append(response: HTTPResponse, part: Path, start: int, limit: int, report: Callable[[int], None]) -> int:
    """Write a response behind the first `start` bytes of a part file; how many bytes it has then."""
    done = start
    with part.open("ab" if start else "wb") as file:
        while chunk := response.read(_CHUNK):
            done += len(chunk)
            if done > limit:
                raise MirrorError(f"sends more than {limit:,} bytes, the most the file can have")
            file.write(chunk)
            report(done)
        file.flush()
        os.fsync(file.fileno())
    return done


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(getattr(error, "reason", "") or error) or type(error).__name__
