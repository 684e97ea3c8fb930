// The screen in a real browser, against `playhead up`: what was just posted is on it, drawn and in figures.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { startCollector } from "./collector.mjs";

// A title as a hostile client would send it.
const HOSTILE = `<img src=x onerror="document.title='taken over'">`;

let browser, scratch;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM_BIN || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  scratch = await mkdtemp(join(tmpdir(), "playhead-screen-"));
});

after(async () => {
  await browser?.close();
  if (scratch) await rm(scratch, { recursive: true, force: true });
});

function events(count, more) {
  return Array.from({ length: count }, (_, number) => JSON.stringify({
    event_type: "play", event_time: Date.now(), session_id: `s-${more.content_id}-${number}`, cdn: "edge-1", ...more,
  })).join("\n");
}

async function post(collector, body) {
  const answer = await fetch(`${collector.url}/v1/events`, { method: "POST", headers: { "content-type": "application/x-ndjson" }, body });
  assert.equal(answer.status, 200, await answer.text());
}

/** How many pixels of a plot's canvas are drawn on. */
const drawn = (page, id) => page.evaluate((plot) => {
  const canvas = document.querySelector(`#${plot} canvas`);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.filter((value, at) => at % 4 === 3 && value > 0).length;
}, id);

test("what was just posted is on the screen, in plots and figures, and nobody else is asked for anything", async (t) => {
  const data = await mkdtemp(join(scratch, "data-"));
  const collector = await startCollector(data);
  t.after(() => collector.kill());
  const origin = collector.url;
  const page = await browser.newPage();
  const strangers = [], errors = [];
  page.on("request", (request) => { if (!request.url().startsWith(origin) && !request.url().startsWith("data:")) strangers.push(request.url()); });
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
  await page.goto(`${origin}/`);

  const rows = (table) => page.locator(`#${table} tbody tr`).allTextContents();
  const until = async (what, holds) => {
    for (let tries = 0; tries < 120; tries += 1) {
      if (await holds()) return;
      await post(collector, `${events(30, { content_id: "film-1" })}\n${events(10, { content_id: HOSTILE })}\n${events(10, { content_id: "film-2", event_type: "error", error_code: "E1", cdn: "edge-2" })}`);
      await page.waitForTimeout(250);
    }
    assert.fail(`waited in vain: ${what}; titles ${await rows("titles")}, CDNs ${await rows("cdns")}, ${await page.textContent("#state")}, ${errors}`);
  };
  await until("the stream is open", async () => (await page.textContent("#state")) === "live");
  await until("titles are shown, the largest first", async () => {
    const titles = await rows("titles");
    return titles.length === 3 && titles[0].startsWith("film-1") && titles.some((title) => title.startsWith(HOSTILE));
  });
  await until("CDNs are shown with their errors", async () => (await rows("cdns")).some((row) => row.startsWith("edge-2")));
  await until("the rate is measured", async () => Number((await page.textContent("#events")).replaceAll(",", "")) > 0);
  await until("both plots are drawn", async () => (await drawn(page, "plot-events")) > 500 && (await drawn(page, "plot-sessions")) > 500);
  assert.equal(await page.title(), "Playhead", "a title is never code");
  assert.deepEqual(strangers, []);
  assert.deepEqual(errors, []);

  await collector.kill();
  await page.waitForFunction(() => document.querySelector("#state").textContent.startsWith("no connection"));
  await page.close();
});
