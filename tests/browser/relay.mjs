// Stands between page and collector: knows which events were answered for, and can lose an answer on its way.
import { once } from "node:events";
import http from "node:http";

/** Relays to `address`, byte for byte. A collector that can't be reached is a connection that breaks. */
export async function startRelay(address) {
  const [host, port] = address.split(":");
  const acknowledged = new Set();
  const waits = new Set();
  const answers = {};      // what became of the requests, and how often
  const count = (method, outcome) => { answers[`${method} ${outcome}`] = (answers[`${method} ${outcome}`] ?? 0) + 1; };
  let answersToLose = 0;

  const server = http.createServer(async (request, response) => {
    try {
      const body = Buffer.concat(await request.toArray());
      const onward = http.request({ host, port, method: request.method, path: request.url, headers: request.headers });
      onward.end(body);
      const [answer] = await once(onward, "response");
      const answerBody = Buffer.concat(await answer.toArray());
      count(request.method, answer.statusCode);
      if (request.method === "POST" && answer.statusCode < 300) {
        if (answersToLose > 0) {
          answersToLose -= 1;
          return void response.destroy();
        }
        note(JSON.parse(body), answer.statusCode === 204 ? [] : JSON.parse(answerBody).rejected);
      }
      response.writeHead(answer.statusCode, answer.rawHeaders).end(answerBody);
    } catch (error) {
      count(request.method, error.code);
      response.destroy();
    }
  });

  function note({ events }, rejected) {
    const refused = new Set(rejected.map(({ index }) => index));
    events.forEach(({ event_id }, index) => { if (!refused.has(index)) acknowledged.add(event_id); });
    for (const check of waits) check();
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** The next `count` batches are taken, and the page does not hear of it. */
    loseAnswers(count) { answersToLose = count; },
    get answersToLose() { return answersToLose; },
    /** Resolves when the page has been told of each of these ids that it is taken; rejects after `timeoutMs`. */
    acknowledged(ids, timeoutMs = 60_000) {
      return new Promise((resolve, reject) => {
        const missing = () => ids.filter((id) => !acknowledged.has(id));
        const settle = (how, value) => { clearTimeout(timer); waits.delete(check); how(value); };
        const check = () => { if (missing().length === 0) settle(resolve); };
        const timer = setTimeout(() => settle(reject, new Error(
          `${missing().length} of ${ids.length} events were not acknowledged within ${timeoutMs} ms, ` +
          `the first is ${missing()[0]}; answers: ${JSON.stringify(answers)}`)), timeoutMs);
        waits.add(check);
        check();
      });
    },
    async stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}
