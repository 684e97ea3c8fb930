// The example player in a real browser, against `playhead up`: what its element did is in the lake, event for event.
//
// What is expected does not come from the page's own script alone: `witness` hears the element's events beside it.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { recordClip } from "./clip.mjs";
import { audit, sessionRows, startCollector } from "./collector.mjs";
import { startRelay } from "./relay.mjs";
import { startWebServer } from "./web_server.mjs";

const CLIP_S = 6;
const SET_BY_PLAYHEAD = ["tenant_id", "source", "received_at", "sent_at", "schema_version", "event_date", "custom",
  "_topic", "_partition", "_offset", "_row"];

let browser, scratch, site;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM_BIN || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
  });
  scratch = await mkdtemp(join(tmpdir(), "playhead-browser-"));
  site = {
    "blank.html": Buffer.from("<!doctype html><title>blank</title>"),
    "player.html": await readFile(new URL("../../examples/player.html", import.meta.url)),
  };
  const web = await startWebServer(site);
  const page = await browser.newPage();
  await page.goto(`${web.url}/blank.html`);
  site["clip.webm"] = await recordClip(page, CLIP_S);
  await page.close();
  await web.stop();
});

after(async () => {
  await browser?.close();
  if (scratch) await rm(scratch, { recursive: true, force: true });
});

test("a viewing is in the lake event for event", async (t) => {
  const stage = await setStage(t);
  const release = stage.web.hold("clip.webm", Math.floor(site["clip.webm"].length * 0.6));
  const page = await stage.open("heartbeat_ms=400&flush_ms=300");

  await page.play();
  await page.until((heard) => heard.events.some((event) => event.playhead_ms > 600));
  await page.video((video) => video.pause());
  await page.until((heard) => heard.native.includes("pause"));
  const durationMs = await page.video((video) => Math.round(video.duration * 1000));
  const pausedAt = await page.video((video) => Math.round(video.currentTime * 1000));
  await page.video((video) => { video.currentTime = 0.5; });
  await page.until((heard) => heard.native.includes("seeked"));
  await page.play();
  await page.until((heard) => heard.events.some(({ event_type }) => event_type === "rebuffer_start"));
  release();
  // The page goes in the very moment of the end: what it says last must outlive it.
  await page.video((video) => { video.addEventListener("ended", () => location.assign("/blank.html")); });
  await page.left();

  const { events, native } = await page.heard();
  const rows = await stage.lake(events);
  const types = rows.map((row) => row.event_type).filter((type) => type !== "heartbeat");
  assert.match(types.join(" "),
    /^play playing pause seek seeked play playing( rebuffer_start rebuffer_end playing)+ ended$/);
  const count = (type) => types.filter((each) => each === type).length;
  assert.equal(count("play"), native.filter((name) => name === "play").length);
  assert.equal(count("playing"), native.filter((name) => name === "playing").length);
  assert.equal(count("seeked"), native.filter((name) => name === "seeked").length);

  const first = (type) => rows.find((row) => row.event_type === type);
  assert.ok(first("playing").startup_ms >= 0, "the first playing has startup_ms");
  assert.equal(first("pause").playhead_ms, pausedAt);
  assert.equal(first("seek").playhead_ms, 500);
  assert.equal(first("seek").player_state, "seeking");
  const seekFrom = Number(first("seek").custom.seek_from_ms);
  assert.ok(500 < seekFrom && seekFrom <= pausedAt, `a seek from ${seekFrom}, paused at ${pausedAt}`);
  assert.equal(first("seeked").player_state, "paused");
  assert.equal(first("rebuffer_start").player_state, "rebuffering");
  assert.equal(first("rebuffer_end").rebuffer_count_total, 1);
  assert.equal(first("rebuffer_end").rebuffer_ms_total, first("rebuffer_end").rebuffer_ms);
  assert.equal(first("ended").content_duration_ms, durationMs);
  assert.equal(first("ended").content_id, "clip.webm");
  assert.deepEqual([first("playing").width, first("playing").height], [320, 180]);
});

test("a viewer who closes the tab in mid-play is seen up to that moment", async (t) => {
  const stage = await setStage(t);
  const page = await stage.open("flush_ms=60000");      // nothing goes by itself: all goes with the page
  await page.play();
  await page.until((heard) => heard.native.includes("playing"));
  const heard = await page.closed();

  const rows = await stage.lake(heard.events);
  assert.deepEqual(rows.slice(0, 2).map((row) => row.event_type), ["play", "playing"]);
  assert.equal(rows.at(-1).event_type, "heartbeat");
});

test("a collector that is killed while the player plays loses and doubles nothing", async (t) => {
  const stage = await setStage(t);
  const page = await stage.open("heartbeat_ms=100&flush_ms=100");
  await page.play();
  await page.until((heard) => heard.events.length >= 10);
  await stage.collector.kill();
  const atKill = (await page.heard()).events.length;
  await page.until((heard, atKill) => heard.events.length >= atKill + 10, atKill);
  await stage.restart();
  await page.until((heard) => heard.native.includes("ended"));

  await stage.lake((await page.heard()).events);
});

test("an answer that is lost on its way costs no event and doubles none", async (t) => {
  const stage = await setStage(t);
  const page = await stage.open("heartbeat_ms=100&flush_ms=100");
  stage.relay.loseAnswers(2);
  await page.play();
  await page.until((heard) => heard.native.includes("ended"));

  await stage.lake((await page.heard()).events);
  assert.equal(stage.relay.answersToLose, 0);
});

test("a source that can't be played is an error with its cause", async (t) => {
  const stage = await setStage(t, { "clip.webm": Buffer.from("this is no video") });
  const page = await stage.open("heartbeat_ms=400&flush_ms=300");
  await page.until((heard) => heard.native.includes("error"));

  const rows = await stage.lake((await page.heard()).events);
  assert.deepEqual(rows.map((row) => [row.event_type, row.error_code, row.error_fatal, row.player_state]),
    [["error", "src_not_supported", true, "error"]]);
});

/** A collector over an empty directory, a web server and a way to open the player; all gone after the test. */
async function setStage(t, files = {}) {
  const data = await mkdtemp(join(scratch, "data-"));
  const stage = { collector: await startCollector(data) };
  t.after(() => stage.collector.kill());
  const { address } = stage.collector;
  stage.relay = await startRelay(address);
  t.after(() => stage.relay.stop());
  stage.web = await startWebServer({ ...site, ...files });
  t.after(() => stage.web.stop());

  stage.restart = async () => { stage.collector = await startCollector(data, address); };
  stage.open = async (parameters) => {
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    await page.addInitScript(witness);
    const query = `collector=${stage.relay.url}&src=clip.webm&${parameters}`;
    await page.goto(`${stage.web.url}/player.html?${query}`);
    return viewer(page, stage.web.url);
  };
  /** Waits for the answers, stops the node, demands that its lake holds exactly `events`, and returns their rows. */
  stage.lake = async (events) => {
    await stage.relay.acknowledged(events.map((event) => event.event_id));
    await stage.collector.stop();
    const rows = await sessionRows(data, events[0].session_id);
    assert.deepEqual(rows.map((row) => row.event_id), events.map((event) => event.event_id));
    events.forEach((event, i) => assertSame(rows[i], event));
    const { ok, rows: all, ids } = await audit(data);
    assert.deepEqual({ ok, all, ids }, { ok: true, all: events.length, ids: events.length });
    return rows;
  };
  return stage;
}

/** Every field that the page posted is in the row as it was posted, and the row has nothing else from a client. */
function assertSame(row, event) {
  const rest = { ...row };
  for (const [name, value] of Object.entries(event)) {
    const stored = name in row ? row[name] : row.custom?.[name];
    const posted = name === "event_time" ? Date.parse(value) : name in row ? value : String(value);
    assert.equal(stored, posted, `${name} of event ${event.seq} (${event.event_type})`);
    delete rest[name];
  }
  assert.deepEqual(Object.keys(rest).filter((name) => !SET_BY_PLAYHEAD.includes(name)), []);
}

/** What a test does with an open player. */
function viewer(page, origin) {
  return {
    play: () => page.evaluate(() => document.querySelector("video").play()),
    video: (act) => page.evaluate(`(${act})(document.querySelector("video"))`),
    until: (condition, argument) => page.waitForFunction(
      `(${condition})(window.heard, ${JSON.stringify(argument)})`, undefined, { timeout: 60_000 }),
    /** The page was left. */
    left: () => page.waitForURL(`${origin}/blank.html`, { timeout: 60_000 }),
    /** The tab was closed; what was heard up to then, asked from another one. */
    async closed() {
      const other = await page.context().newPage();
      await other.goto(`${origin}/blank.html`);
      await Promise.all([page.waitForEvent("close"), page.close({ runBeforeUnload: true })]);
      return other.evaluate(() => JSON.parse(localStorage.getItem("heard")));
    },
    heard: () => page.evaluate(() => JSON.parse(localStorage.getItem("heard"))),
  };
}

/** Runs in the page before its own script: writes down what the element does and what the script says of it. */
function witness() {
  if (!location.pathname.endsWith("/player.html")) return;
  window.heard = { events: [], native: [] };
  const keep = () => localStorage.setItem("heard", JSON.stringify(window.heard));     // outlives the page
  addEventListener("playhead", ({ detail }) => { window.heard.events.push(detail); keep(); });
  for (const name of ["play", "playing", "pause", "waiting", "seeked", "ended", "error"]) {
    // Media events don't bubble, so they are caught on the way down, before the script hears them; a task later it
    // has done with them.
    addEventListener(name, ({ target }) => {
      if (target instanceof HTMLVideoElement) setTimeout(() => { window.heard.native.push(name); keep(); });
    }, { capture: true });
  }
}
