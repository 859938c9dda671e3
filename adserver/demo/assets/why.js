// "Why this ad": what the deciding code says, in plain words.
import { byId, make } from "./dom.js";

const NAMES = new Intl.DisplayNames(["en"], { type: "region" });
const LANGUAGES = new Intl.DisplayNames(["en"], { type: "language" });
const list = new Intl.ListFormat("en", { type: "disjunction" });

const tidy = (text) => text.replace(/^.*\//, "").replaceAll("-", " ").replaceAll("_", " ");
const named = (of, value) => { try { return of.of(value); } catch { return value; } };

/** dimension -> words for the values that both sides share. */
const WORDS = {
  publishers: () => "you are reading Lumen",
  placements: () => "it was booked for this very place",
  surfaces: (values) => `it was booked for ${list.format(values)} places`,
  formats: () => null,
  countries: (values) => `you read from ${list.format(values.map((value) => named(NAMES, value)))}`,
  regions: (values) => `you read from the region ${list.format(values)}`,
  cities: (values) => `you read from ${list.format(values.map((value) => value[0].toUpperCase() + value.slice(1)))}`,
  postal_codes: (values) => `you read from ${list.format(values)}`,
  devices: (values) => `you use a ${list.format(values)} device`,
  languages: (values) => `you read in ${list.format(values.map((value) => named(LANGUAGES, value)))}`,
  audiences: (values) => `you are in the audience “${list.format(values.map(tidy))}”`,
  segments: (values) => `Lumen says you like ${list.format(values.map(tidy))}`,
  keywords: (values) => `this page is about ${list.format(values)}`,
  "facets.job_function": (values) => `you work in ${list.format(values.map(tidy))}`,
  "facets.seniority": (values) => `you are at the level ${list.format(values.map(tidy))}`,
  "facets.industry": (values) => `you work in the ${list.format(values.map(tidy))} industry`,
  "facets.company_size": (values) => `your company has ${list.format(values)} people`,
};
const PERSONAL = ["audiences", "segments", "facets."];

function reasons(matched) {
  const found = [];
  for (const { dimension, wanted, got } of matched) {
    const shared = got.filter((value) => wanted.any?.includes(value) || wanted.all?.includes(value));
    if (dimension.startsWith("hours:")) found.push("it is the right hour of the week");
    else if (shared.length) {
      const words = (WORDS[dimension] ?? ((values) => `${dimension}: ${list.format(values)}`))(shared);
      if (words) found.push(words);
    }
    if (wanted.none) found.push(`you are not among those it avoids (${dimension.replace("facets.", "")}: ${list.format(wanted.none.map(tidy))})`);
  }
  return found;
}

function span(ms) {
  if (ms === null) return "a session";
  const hours = ms / 3600000;
  if (hours < 1) return `${Math.round(hours * 60)} minutes`;
  if (hours < 24) return hours === 1 ? "an hour" : `${hours} hours`;
  return hours === 24 ? "a day" : `${Math.round(hours / 24)} days`;
}

const times = (count) => (count === 1 ? "once" : count === 2 ? "twice" : `${count} times`);

function elsewhere(rule) {
  if (/placements|publishers|surfaces|formats/.test(rule)) return "booked for other places";
  if (rule === "status") return "not running";
  if (rule.startsWith("flight")) return "not in its dates";
  if (rule.includes("hours:")) return "not its hour of the week";
  return `meant for others (${rule.replace("targeting.", "").replace("facets.", "").replace("_", " ")})`;
}

function outcome(item) {
  if (item.outcome === "outbid") return "stood by; somebody else took the place";
  const words = {
    frequency_capped: "you have seen it often enough", budget_exhausted: "its budget is spent", paced: "it has had its share of this hour",
    no_user: "it needs to know whom to count", below_floor: "below the floor", blocked: "blocked by the publisher",
    currency: "another currency", no_creative: "nothing that fits this place", feed_cap: "too near to another of its advertiser",
    excluded: "would stand beside a rival", no_match: elsewhere(item.rule ?? ""),
  };
  return words[item.reason] ?? item.reason;
}

function told(found) {
  const because = reasons(found.matched);
  const personal = found.matched.some(({ dimension }) => PERSONAL.some((start) => dimension.startsWith(start)));
  const parts = [
    make("h3", {}, "You see this because"),
    because.length ? make("ul", {}, ...because.map((words) => make("li", {}, words))) : make("p", {}, "it was meant for everybody here."),
    make("h3", {}, "About you"),
    make("p", {}, !found.personalised ? "You did not agree to personalised ads: your account, audiences and facets were not used."
      : personal ? "You agreed to personalised ads, and what Lumen knows about you was used here."
        : "You agreed to personalised ads, but nothing about you was needed for this one."),
  ];
  if (found.caps.length) {
    parts.push(make("h3", {}, "How often"), make("ul", {}, ...found.caps.map((cap) =>
      make("li", {}, `at most ${times(cap.limit)} in ${span(cap.per_ms)}${cap.scope === "line_item" ? "" : ` (its whole ${cap.scope})`}`))));
  }
  const rows = found.ahead.map((item) => make("tr", {}, make("td", {}, `${item.rank}`), make("td", {}, make("code", {}, item.line_item)), make("td", {}, outcome(item))));
  parts.push(make("details", {}, make("summary", {}, "What the deciding code says"),
    make("p", {}, make("code", {}, found.line_item), ` (${found.priority}) stands ${found.rank} of ${found.of} in rank. `,
      rows.length ? "Some that stand ahead of it, and why they were not shown here:" : "Nothing stood ahead of it."),
    rows.length ? make("table", {}, make("tbody", {}, ...rows)) : null));
  return parts;
}

/** Ask the server why, and show it. */
export async function why(ad) {
  const words = byId("why-words"), dialog = byId("why");
  words.replaceChildren(make("p", {}, "Asking the server …"));
  dialog.showModal();
  const reply = await fetch(`/demo/why/${encodeURIComponent(ad.event_id)}`).catch(() => null);
  if (reply?.ok) words.replaceChildren(...told(await reply.json()));
  else words.replaceChildren(make("p", {}, "The server does not remember this decision any more."));
}
