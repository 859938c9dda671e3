// The gauge at the top and the server's numbers beside the feed.
import { byId, make } from "./dom.js";

const POLL_MS = 2000;
const ROOM = 1.3; // the bar ends at 1.3 times the cap

/** Sponsored share of what was answered so far, beside its cap (exact text of the policy, such as "0.06"). */
export function gauge(sponsored, items, cap) {
  const share = items ? sponsored / items : 0, most = Number(cap);
  byId("gauge-share").textContent = `${(100 * share).toFixed(1)} %`;
  byId("gauge-items").textContent = `of ${items} items`;
  byId("gauge-cap").textContent = `cap ${Number((100 * most).toFixed(2))} %`;
  const end = most * ROOM || 1;
  byId("gauge-fill").style.width = `${Math.min(100, (100 * share) / end)}%`;
  byId("gauge-fill").classList.toggle("over", share > most);
  byId("gauge-mark").style.left = `calc(${(100 * most) / end}% - 1px)`;
  const meter = byId("gauge");
  meter.setAttribute("aria-valuenow", (100 * share).toFixed(1));
  meter.setAttribute("aria-valuetext", `${(100 * share).toFixed(1)} percent of ${items} items, cap ${100 * most} percent`);
}

const whole = new Intl.NumberFormat("en");
let last = null, latency = null;

/** How long the page's own last decision took. */
export function took(ms) { latency = ms; }

function rows(numbers, rate) {
  const feeds = Object.values(numbers.feeds).reduce((sum, feed) => [sum[0] + feed.sponsored, sum[1] + feed.sponsored + feed.organic], [0, 0]);
  const spend = Object.entries(numbers.spend).map(([currency, amount]) => `${Number(amount).toFixed(2)} ${currency}`);
  return [
    ["Decisions", `${whole.format(numbers.decisions)}`],
    ["per second", rate === null ? "…" : whole.format(Math.round(rate))],
    ["Places filled", numbers.placements ? `${(100 * numbers.filled / numbers.placements).toFixed(0)} %` : "–"],
    ["All feeds", feeds[1] ? `${(100 * feeds[0] / feeds[1]).toFixed(2)} % of ${whole.format(feeds[1])}` : "–"],
    ["Stopped by a cap", whole.format(numbers.cap_stops)],
    ...spend.map((words, index) => [index ? "" : "Spend", words]),
    ["Your last page", latency === null ? "–" : `${latency.toFixed(1)} ms`],
  ];
}

async function poll() {
  const began = performance.now();
  const reply = await fetch("/demo/numbers").catch(() => null);
  byId("pulse").classList.toggle("lost", !reply?.ok);
  if (!reply?.ok) return;
  const numbers = await reply.json();
  const rate = last ? (1000 * (numbers.decisions - last.decisions)) / (began - last.at) : null;
  last = { decisions: numbers.decisions, at: began };
  byId("numbers").replaceChildren(...rows(numbers, rate).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

export function startPolling() {
  poll();
  setInterval(() => { if (!document.hidden) poll(); }, POLL_MS);
}
