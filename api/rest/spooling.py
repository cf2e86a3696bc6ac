"""Answers of any length, written to a file first: what cannot be read to its end is an error, not half of an answer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO, Any, Final, TextIO, cast

from starlette.responses import StreamingResponse

__all__ = ["LINES", "NDJSON", "spooled"]

#: Lines of JSON.
NDJSON: Final = "application/x-ndjson"
#: `responses` of a route that gives them.
LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Lines of JSON.", "content": {NDJSON: {"schema": {"type": "string"}}}}
}
#: More than this goes to a disk.
_IN_MEMORY: Final = 1 << 20
_CHUNK: Final = 1 << 16


def spooled(write: Callable[[TextIO], object], name: str) -> StreamingResponse:
    """Let somebody write lines of JSON, then give them as a file of this name. Raises whatever `write` raises."""
    with ExitStack() as stack:
        file = stack.enter_context(
            tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, mode="w+", encoding="utf-8", newline="")
        )
        write(cast("TextIO", file))
        file.seek(0)
        stack.pop_all()  # whoever sends it closes it
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_chunks(file), media_type=NDJSON, headers=headers)


def _chunks(file: IO[str]) -> Iterator[str]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk
