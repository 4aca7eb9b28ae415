"""A WSGI application, and what a bug might do: call whoever the client names."""

import urllib.parse
import urllib.request


def app(environ, start):
    said = b"answered\n"
    if environ["PATH_INFO"] == "/fetch":
        query = urllib.parse.parse_qs(environ["QUERY_STRING"])
        try:
            said = urllib.request.urlopen(f"http://127.0.0.1:{query['port'][0]}/", timeout=5).read()
        except OSError as error:
            said = f"refused: {error}\n".encode()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(said)))])
    return [said]
