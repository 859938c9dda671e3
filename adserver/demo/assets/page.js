// The page: who reads, and the feed, asked for page by page.
import { card, message, rail, release, story } from "./ads.js";
import { byId, make } from "./dom.js";
import { gauge, startPolling, took } from "./panel.js";
import { colour, initials, post, storyTellers } from "./posts.js";

const PLACEMENT = "news-feed", ORGANIC = 12, AHEAD_PX = 900;
const TRIES = 6, WAIT_MS = 200;
const URL_OF_PAGE = "https://lumen.example/demo";

let people = [], reader = null, feed = null;

/** A feed from its beginning: what is known of the account, and whether a page is under way. */
const fresh = () => ({
  session: `demo-${crypto.getRandomValues(new Uint32Array(2)).join("")}`, page: 0, organic: 0, items: 0, sponsored: 0, receipt: null, busy: false, over: false,
});

function question(placements) {
  const consent = byId("consent").checked;
  return {
    publisher: "lumen", session: feed.session, placements,
    user: { id: reader.id, segments: reader.segments },
    geo: reader.geo, device: { language: reader.language },
    page: { url: URL_OF_PAGE, keywords: ["voyage", "software"] },
    consent: { personalised: consent },
  };
}

async function decide(placements) {
  const began = performance.now();
  const reply = await fetch("/v1/decisions", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(question(placements)) });
  if (!reply.ok) throw new Error(`the ad server answered ${reply.status}`);
  const answer = await reply.json();
  took(performance.now() - began);
  return answer.decisions;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** A server behind its work answers no feed page (`overloaded`): the same page is asked for again. */
async function decideFeed(placements) {
  for (let tries = 1; ; tries++) {
    const slots = await decide(placements);
    if (slots[0].feed) return slots;
    if (tries === TRIES) throw new Error(`no feed page: ${slots[0].no_fill}`);
    await pause(WAIT_MS * 2 ** tries);
  }
}

async function nextPage() {
  const own = feed;
  if (!reader || own.busy || own.over) return;
  own.busy = true;
  byId("feed").setAttribute("aria-busy", "true");
  try {
    const main = { id: PLACEMENT, feed: { id: "main", page: own.page, organic_count: ORGANIC, receipt: own.receipt } };
    const [slot, ...others] = await decideFeed([main, ...(own.page === 0 ? besides() : [])]);
    if (own !== feed) return;
    show(slot);
    others.forEach(showBeside);
    byId("status").textContent = "";
  } catch (error) {
    if (own !== feed) return;
    own.over = true;
    byId("status").replaceChildren(`${error.message}. `, make("button", { type: "button", onclick: () => { own.over = false; nextPage(); } }, "Try again"));
  } finally {
    own.busy = false;
    byId("feed").setAttribute("aria-busy", "false");
    if (own === feed) requestAnimationFrame(more);
  }
}

const besides = () => [
  { id: "stories", count: 2 }, { id: "inbox" },
  ...(matchMedia("(min-width: 1121px)").matches ? [{ id: "right-rail", sizes: ["300x250"] }] : []),
];

/** Merge one page: ads at the positions the server gave, the publisher's items at all others. */
function show(slot) {
  const told = slot.feed, sponsored = new Map(slot.ads.map((ad) => [ad.position, ad]));
  const items = [];
  for (let position = told.start_position; position < told.next_position; position++) {
    const ad = sponsored.get(position);
    items.push(ad ? card(ad) : organic(position));
  }
  byId("feed").append(...items);
  feed.page += 1;
  feed.items += items.length;
  feed.sponsored += sponsored.size;
  feed.receipt = told.receipt;
  gauge(feed.sponsored, feed.items, told.max_share);
}

function organic(position) {
  const item = post(people.indexOf(reader) + 1, feed.organic++);
  return make("article.card.post", { "data-kind": "organic", "data-position": position, "aria-posinset": position + 1, "aria-setsize": -1, tabindex: 0, lang: item.lang },
    make("header", {}, face(item.author),
      make("div", {}, make("b", {}, item.author), make("small", {}, `${item.role} · ${item.age.replace(" ", "\u00a0")}`)),
      make("span.number", {}, `n° ${position + 1}`)),
    make("p.text", {}, item.text),
    item.picture ? make("div.picture", {}, make("img", { src: item.picture, alt: "", loading: "lazy", width: 1200, height: 628 })) : null,
    make("div.under", {}, make("span", {}, `♥ ${item.likes}`), make("span", {}, `${item.comments} ${item.lang === "fr" ? "commentaires" : "comments"}`)));
}

const face = (name) => make("span.face", { "aria-hidden": "true", style: `background:${colour(name)}` }, initials(name));

function showBeside(slot) {
  if (slot.placement === "stories") {
    const tiles = [...byId("stories").children];
    slot.ads.forEach((ad, index) => tiles[1 + index * 2]?.after(story(ad)));
  } else if (slot.placement === "inbox") byId("inbox").replaceChildren(...slot.ads.map(message));
  else byId("rail").replaceChildren(...slot.ads.map(rail));
}

function more() {
  if (byId("end").getBoundingClientRect().top < innerHeight + AHEAD_PX) nextPage();
}

// -- who reads -------------------------------------------------------------------------------------

function restart() {
  release();
  feed = fresh();
  for (const id of ["feed", "inbox", "rail"]) byId(id).replaceChildren();
  const seed = people.indexOf(reader) + 1;
  byId("stories").replaceChildren(...storyTellers(seed).map((one) =>
    make("div.story", { role: "listitem" }, make("img", { src: one.picture, alt: "" }), make("p", {}, one.author.split(" ")[0]))));
  gauge(0, 0, "0.06");
  scrollTo({ top: 0 });
  nextPage();
}

function become(person) {
  reader = person;
  byId("reader-name").textContent = person.name;
  byId("reader-about").textContent = person.about;
  const mark = byId("reader-face");
  mark.textContent = initials(person.name);
  mark.style.background = colour(person.name);
  tellFacts();
  restart();
}

function tellFacts() {
  const on = byId("consent").checked, words = (text) => text.replace(/^lumen\//, "").replaceAll("-", " ");
  const chip = (text) => make(on ? "span.chip" : "span.chip.off", {}, words(text));
  const facets = Object.entries(reader.facets).flatMap(([name, values]) => values.map((value) => `${name.replace("_", " ")}: ${value}`));
  byId("consent-words").textContent = on ? "Account, audiences and facets may be used." : "Nothing about the person is used or stored.";
  byId("facts").replaceChildren(
    make("h3", {}, "Known about this reader"),
    ...[...reader.audiences.map((name) => `in ${words(name)}`), ...facets, ...reader.segments.map((name) => `likes ${name}`)].map(chip),
    ...(reader.audiences.length + facets.length + reader.segments.length ? [] : [make("small", {}, "nothing")]),
    make("h3", {}, "Always known"),
    make("span.chip", {}, [reader.geo.city, reader.geo.country].filter(Boolean).join(", ")), make("span.chip", {}, `reads ${reader.language}`));
}

function choices() {
  byId("people").replaceChildren(...people.map((person, index) =>
    make("label", {}, make("input", { type: "radio", name: "person", checked: index === 0, onchange: () => become(person) }),
      face(person.name), make("span", {}, make("b", {}, person.name), make("small", {}, person.about)))));
}

async function start() {
  if (matchMedia("(max-width: 800px)").matches) byId("reader").open = false;
  people = await (await fetch("/demo/people")).json();
  choices();
  feed = fresh();
  become(people[0]);
  byId("consent").addEventListener("change", () => { tellFacts(); restart(); });
  byId("again").addEventListener("click", restart);
  byId("why").addEventListener("click", (event) => { if (event.target === byId("why")) byId("why").close(); });
  addEventListener("scroll", more, { passive: true });
  addEventListener("resize", more);
  addEventListener("pagehide", () => release(true));
  startPolling();
}

start().catch((error) => { byId("status").textContent = `The page could not start: ${error.message}`; });
