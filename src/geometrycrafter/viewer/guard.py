"""Who may talk to the viewer: pages that it has served itself, and none of another site that a browser has open."""

from __future__ import annotations

import contextlib
import http
import io
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock
from urllib.parse import urlsplit


def foreign(headers: Mapping[str, str], host: str) -> bool:
    """Whether a request comes from a page of another site.

    Args:
        headers: of the request; programs that are no browsers send no ``Origin``.
        host: that the server answers at; where that is this machine alone, so must be the page's.
    """
    origin = headers.get("Origin")
    if origin is None:
        return False
    try:
        page = urlsplit(origin.lower())
        return page.netloc != headers.get("Host", "").lower() or (_local(host) and not _local(page.hostname or ""))
    except ValueError:  # it is no address
        return True


def _local(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


@contextlib.contextmanager
def guarded(host: str) -> Iterator[None]:
    """A server of viser's that starts here refuses pages of other sites, and doesn't say where it answers.

    Args:
        host: that it answers at.
    """
    import websockets.asyncio.server as sockets

    serve: Callable[..., Any] = sockets.serve

    def strict(*args: Any, process_request: Callable[[Any, Any], Any], **options: Any) -> Any:
        def checked(connection: Any, request: Any) -> Any:
            if foreign(request.headers, host):
                return connection.respond(http.HTTPStatus.FORBIDDEN, "This page is of another site.\n")
            return process_request(connection, request)

        return serve(*args, process_request=checked, **options)

    with mock.patch.object(sockets, "serve", strict), contextlib.redirect_stdout(io.StringIO()):
        yield
