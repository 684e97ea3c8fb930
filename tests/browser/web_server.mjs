// Serves the example page and a clip on a free loopback port, with Range requests as players make them.
import { once } from "node:events";
import { createServer } from "node:http";

const TYPES = { html: "text/html; charset=utf-8", webm: "video/webm" };

// A WebM file's seek index is at its end; a player reads it before anything else.
const INDEX_BYTES_MAX = 64 << 10;

/**
 * `files`: name to bytes. `hold(name, bytes)` keeps back all after the first `bytes` of a file, but for a request of
 * its seek index, until the function that it returns is called.
 */
export async function startWebServer(files) {
  const held = new Map();      // name -> {bytes, released: Promise, release}
  const server = createServer((request, response) => {
    const name = new URL(request.url, "http://localhost").pathname.slice(1);
    const body = files[name];
    if (!body) return void response.writeHead(404).end();
    serve(request, response, name, body).catch((error) => response.destroy(error));
  });

  async function serve(request, response, name, body) {
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const first = range ? Number(range[1]) : 0;
    const last = range?.[2] ? Math.min(Number(range[2]), body.length - 1) : body.length - 1;
    if (first > last) return void response.writeHead(416, { "content-range": `bytes */${body.length}` }).end();
    response.writeHead(range ? 206 : 200, {
      "content-type": TYPES[name.split(".").pop()], "content-length": last - first + 1, "accept-ranges": "bytes",
      ...(range ? { "content-range": `bytes ${first}-${last}/${body.length}` } : {}) });
    const hold = held.get(name);
    if (hold && last >= hold.bytes && first < body.length - INDEX_BYTES_MAX) {
      response.flushHeaders();
      if (first < hold.bytes) response.write(body.subarray(first, hold.bytes));
      await hold.released;
      response.end(body.subarray(Math.max(first, hold.bytes), last + 1));
    } else {
      response.end(body.subarray(first, last + 1));
    }
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    hold(name, bytes) {
      let release;
      const released = new Promise((resolve) => { release = resolve; });
      held.set(name, { bytes, released });
      return () => { held.delete(name); release(); };
    },
    async stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}
