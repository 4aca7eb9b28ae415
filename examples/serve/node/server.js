// A server on a descriptor that it is given, and what a bug might do: call whoever the client names.
const http = require("http");

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname !== "/fetch") {
    response.end("answered\n");
    return;
  }
  http
    .get({ host: "127.0.0.1", port: url.searchParams.get("port") }, answer => answer.pipe(response))
    .on("error", error => response.end(`refused: ${error.message}\n`));
});
server.listen({ fd: 3 });
process.on("SIGTERM", () => server.close());
