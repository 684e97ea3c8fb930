// `playhead up` as the tests' collector, and its lake as they read it.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { homedir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "playhead");
const target = process.env.CARGO_TARGET_DIR || join(cache, "target");
const BINARY = process.env.BINARY || join(target, "debug/playhead");
const PYTHON = process.env.VENV_PYTHON || join(cache, "venv/bin/python");
const SESSION_ROWS = new URL("../readers/session_rows.py", import.meta.url).pathname;

/** Starts a node over `data`; port 0 takes a free one. Ready when it returns. */
export async function startCollector(data, listen = "127.0.0.1:0") {
  const args = ["up", "--json", "--data", data, "--listen", listen, "--admin", "127.0.0.1:0"];
  const child = spawn(BINARY, args, { stdio: ["ignore", "pipe", "pipe"] });
  const said = [];
  child.stderr.on("data", (chunk) => said.push(chunk));
  const ended = new Promise((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
  const failed = (why) => new Error(`${BINARY} ${args.join(" ")}: ${why}\n${Buffer.concat(said)}`);
  const ready = once(createInterface(child.stdout), "line").then(([line]) => JSON.parse(line));
  const addresses = await Promise.race([
    ready,
    once(child, "error").then(([error]) => { throw failed(error.message); }),
    ended.then(({ code, signal }) => { throw failed(`ended with ${code ?? signal} before it was ready`); }),
  ]);
  return {
    address: addresses.listening,
    url: `http://${addresses.listening}`,
    /** SIGTERM: what was acknowledged is in the lake when this returns. */
    async stop() {
      child.kill("SIGTERM");
      const { code, signal } = await ended;
      if (code !== 0) throw failed(`SIGTERM ended it with ${code ?? signal}, not with 0`);
    },
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** The rows of a session in `data`'s lake, by seq, each with its columns that are not null. */
export async function sessionRows(data, session) {
  const { stdout } = await promisify(execFile)(PYTHON, [SESSION_ROWS, data, session], { maxBuffer: 64 << 20 });
  return stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** `playhead audit` of a stopped node's data. */
export async function audit(data) {
  const { stdout } = await promisify(execFile)(BINARY, ["audit", "--json", "--data", data]);
  return JSON.parse(stdout.trim().split("\n").pop());
}
