"use strict";
// What the rollups audience and quality have now: two streams, two plots, two tables. Titles and CDNs are what players
// sent: they are only ever put in as text.
const HISTORY = 600;
const TOP = 10;
const STALE_MS = 5000;
// A player whose clock is wrong has windows of its own: they would stretch the axis over days.
const SHOWN_MS = 15 * 60_000;

const token = new URLSearchParams(location.search).get("token");
const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const rate = new Intl.NumberFormat("en", { maximumFractionDigits: 3 });
const sum = (rows, column) => rows.reduce((total, row) => total + (row[column] ?? 0), 0);

function address(path, parameters = {}) {
  const query = new URLSearchParams(token ? { ...parameters, token } : parameters);
  return `${path}?${query}`;
}

function say(words, isBad = false) {
  $("state").textContent = words;
  $("state").className = isBad ? "bad" : "";
}

/** The newest window that is over: an open one that has begun only just now says little. */
function lastFull(view) {
  return view.windows.find((window) => Date.parse(window.window_end) <= Date.parse(view.at)) ?? view.windows[0];
}

function plot(id, label, options) {
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--main").trim();
  const soft = getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
  const line = getComputedStyle(document.documentElement).getPropertyValue("--line").trim();
  const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const width = () => $(id).clientWidth;
  const made = new uPlot({
    width: width(), height: 200, legend: { show: false }, cursor: { y: false },
    scales: { y: { range: (_, __, max) => [0, Math.max(max, 1) * 1.1] } },
    axes: [axis, { ...axis, size: 60 }],
    series: [{}, { label, stroke: colour, fill: `${colour}22`, width: 2, ...options }],
  }, [[], []], $(id));
  new ResizeObserver(() => made.setSize({ width: width(), height: 200 })).observe($(id));
  return made;
}

/** Rows of a table: a cell is a text, or [shown, share of the largest, class of its bar]. */
function fill(id, rows) {
  $(id).tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    for (const cell of cells) {
      const [shown, share, kind] = Array.isArray(cell) ? cell : [cell];
      const data = row.insertCell();
      data.textContent = shown;
      if (kind) {
        data.className = kind;
        data.style.setProperty("--share", `${Math.round(share * 100)}%`);
      }
    }
    return row;
  }));
}

/** Rows put together by a column. */
function by(rows, column, measures) {
  const groups = new Map();
  for (const row of rows) {
    const name = row[column] ?? "(none)";
    const group = groups.get(name) ?? { name, ...Object.fromEntries(measures.map((measure) => [measure, 0])) };
    measures.forEach((measure) => { group[measure] += row[measure] ?? 0; });
    group.title ??= row.content_title;
    groups.set(name, group);
  }
  return [...groups.values()].sort((one, other) => other.sessions - one.sessions).slice(0, TOP);
}

const bars = (rows, column, kind, format = number) => {
  const largest = Math.max(...rows.map((row) => row[column]), 0);
  return rows.map((row) => [format.format(row[column]), largest ? row[column] / largest : 0, kind]);
};

function showAudience(view, sessions) {
  const minutes = view.windows.filter((window) => Date.parse(window.window_start) > Date.parse(view.at) - SHOWN_MS).reverse();
  sessions.setData([minutes.map((window) => Date.parse(window.window_start) / 1000), minutes.map((window) => sum(window.rows, "sessions"))]);
  const full = lastFull(view);
  if (!full) return;
  $("sessions").textContent = number.format(sum(full.rows, "sessions"));
  $("plays").textContent = number.format(sum(full.rows, "plays"));
  const titles = by(full.rows, "content_id", ["sessions", "plays"]);
  const columns = [bars(titles, "sessions", "good"), bars(titles, "plays", "good")];
  fill("titles", titles.map((title, at) => [title.title ?? title.name, columns[0][at], columns[1][at]]));
}

function showQuality(view) {
  const full = lastFull(view);
  if (!full) return;
  $("errors").textContent = number.format(sum(full.rows, "errors"));
  const cdns = by(full.rows, "cdn", ["sessions", "rebuffers", "errors"]);
  for (const cdn of cdns) {
    cdn.rebuffering = cdn.sessions ? cdn.rebuffers / cdn.sessions : 0;
    cdn.failing = cdn.sessions ? cdn.errors / cdn.sessions : 0;
  }
  const columns = [bars(cdns, "sessions", "good"), bars(cdns, "rebuffering", "bad", rate), bars(cdns, "failing", "bad", rate)];
  fill("cdns", cdns.map((cdn, at) => [cdn.name, columns[0][at], columns[1][at], columns[2][at]]));
}

/** Events a second: by how much the windows have grown since the last look. */
function eventRate() {
  let counted = null, last = 0;
  return (view) => {
    const now = new Map(view.windows.map((window) => [window.window_start, window.events]));
    const at = Date.parse(view.at);
    const grown = [...now].reduce((total, [start, events]) => total + Math.max(0, events - (counted?.get(start) ?? 0)), 0);
    const measured = counted && at > last ? grown / ((at - last) / 1000) : null;
    [counted, last] = [now, at];
    return measured;
  };
}

function start() {
  const events = plot("plot-events", "events a second", {});
  const sessions = plot("plot-sessions", "sessions", { paths: uPlot.paths.bars({ size: [0.7, 48] }), points: { show: false } });
  const measure = eventRate(), history = [[], []];
  let heard = 0, behind = null, missing = [];
  const streams = ["audience", "quality"].map((rollup) => {
    const stream = new EventSource(address(`/v1/live/${rollup}/stream`, { top: 1000, by: "sessions" }));
    stream.addEventListener("windows", (message) => {
      const view = JSON.parse(message.data);
      heard = Date.now();
      missing = view.missing_partitions;
      if (rollup === "audience") return showAudience(view, sessions);
      behind = view.watermark && (Date.parse(view.at) - Date.parse(view.watermark)) / 1000;
      showQuality(view);
      const measured = measure(view);
      if (measured === null) return;
      history[0].push(Date.parse(view.at) / 1000);
      history[1].push(measured);
      history.forEach((values) => { if (values.length > HISTORY) values.shift(); });
      events.setData(history);
      $("events").textContent = number.format(measured);
    });
    return stream;
  });
  setInterval(() => {
    if (behind !== null) $("behind").textContent = number.format(behind);
    if (streams.some((stream) => stream.readyState === EventSource.CLOSED)) return say("no connection: reload the page to try again", true);
    if (streams.some((stream) => stream.readyState !== EventSource.OPEN)) return say("no connection: trying again", true);
    if (!heard) return say("connected, nothing was heard yet");
    if (missing.length) return say(`not all is shown: partition ${missing.join(", ")} is missing`, true);
    const quiet = Date.now() - heard > STALE_MS;
    if (quiet) $("events").textContent = "0";
    say(quiet ? "live; nothing has changed lately" : "live");
  }, 500);
}

fetch(address("/v1/live")).then(async (answer) => {
  const told = await answer.json();
  if (!answer.ok) return say(told.detail, true);
  const missing = ["audience", "quality"].filter((name) => !told.rollups.includes(name));
  if (missing.length) return say(`this screen shows the rollups audience and quality; not kept here: ${missing.join(", ")}`, true);
  start();
}).catch((error) => say(`no answer: ${error.message}`, true));
