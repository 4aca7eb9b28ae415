"""An ASGI application, and what a bug might do: call whoever the client names."""

import asyncio
import urllib.parse
import urllib.request


def fetch(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
    except OSError as error:
        return f"refused: {error}\n".encode()


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    said = b"answered\n"
    if scope["path"] == "/fetch":
        query = urllib.parse.parse_qs(scope["query_string"].decode())
        said = await asyncio.get_running_loop().run_in_executor(None, fetch, query["port"][0])
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(said)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said})
