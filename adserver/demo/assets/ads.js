// Sponsored things: how they look, and what is told of them (impression, viewable, click, hide, report, release).
import { make } from "./dom.js";
import { why } from "./why.js";

const VIEWABLE_SHARE = 0.5, VIEWABLE_MS = 1000;
const LABEL = "Sponsored · Sponsorisé";
const ARTWORK = "https://artwork.example/";

/** A URL of this server, whatever name it was opened under. */
const own = (url) => new URL(url).pathname;
const art = (url) => (url?.startsWith(ARTWORK) ? `/artwork/${url.slice(ARTWORK.length)}` : null);
const tell = (url, method = "POST") => fetch(own(url), { method, keepalive: true }).catch(() => null);

/** Ads that were answered and have not begun to show: given back when the reader leaves. */
const waiting = new Map();

const watcher = new IntersectionObserver(seen, { threshold: [0.01, VIEWABLE_SHARE] });
const watched = new WeakMap();

function seen(entries) {
  for (const entry of entries) {
    const state = watched.get(entry.target);
    if (!state) continue;
    if (entry.isIntersecting && waiting.delete(state.ad.event_id)) tell(state.ad.impression_url, "GET");
    const enough = entry.isIntersecting && entry.intersectionRatio >= VIEWABLE_SHARE - 0.01 && !document.hidden;
    if (!enough) {
      clearTimeout(state.timer);
      state.timer = null;
    } else if (state.timer === null) {
      state.timer = setTimeout(() => {
        tell(state.ad.viewable_url, "GET");
        watcher.unobserve(entry.target);
      }, VIEWABLE_MS);
    }
  }
}

function watch(element, ad) {
  waiting.set(ad.event_id, ad);
  watched.set(element, { ad, timer: null });
  watcher.observe(element);
  element.dataset.eventId = ad.event_id;
  return element;
}

/** Free what was never shown. `leaving`: the page is going away. */
export function release(leaving = false) {
  if (waiting.size === 0) return;
  const tokens = [...waiting.values()].map((ad) => ad.release_url.split("/").pop());
  waiting.clear();
  const body = new Blob([JSON.stringify({ tokens })], { type: "text/plain" });
  if (leaving) navigator.sendBeacon("/v1/release", body);
  else fetch("/v1/release", { method: "POST", body, keepalive: true }).catch(() => null);
}

const link = (what, ad, attributes, ...children) =>
  make(what, { href: own(ad.click_url), target: "_blank", rel: "noopener sponsored", ...attributes }, ...children);

const picture = (url, alt, loading = "lazy") =>
  art(url) ? make("img", { src: art(url), alt: alt ?? "", loading, width: 1200, height: 628 }) : null;

const label = () => make("span.label", {}, LABEL);

function acts(ad, element) {
  const away = (url, words) => () => {
    tell(url);
    element.replaceChildren(make("p.gone", { role: "status" }, words));
  };
  return make("div.acts", {},
    make("button.ask", { type: "button", onclick: () => why(ad) }, "Why this ad?"),
    make("button", { type: "button", onclick: away(ad.events.hide, "Hidden. · Masqué.") }, "Hide"),
    make("button", { type: "button", onclick: away(ad.events.report, "Thank you, reported. · Merci, signalé.") }, "Report"));
}

/** A sponsored card of the feed. */
export function card(ad) {
  const { assets, advertiser_domain: domain, language, format } = ad.creative;
  const element = make("article.card.post.ad-card", {
    "data-kind": "sponsored", "data-position": ad.position, "data-advertiser": ad.advertiser,
    "aria-posinset": ad.position + 1, "aria-setsize": -1, tabindex: 0, lang: language || null,
    "aria-label": `Sponsored: ${assets.title ?? assets.alt ?? domain}`,
  });
  element.append(
    make("header", {},
      art(assets.icon_url) ? make("img.icon", { src: art(assets.icon_url), alt: "" }) : make("span.face", { "aria-hidden": "true" }, (assets.sponsored_by ?? domain)[0]),
      make("div", {}, make("b", {}, assets.sponsored_by ?? domain), make("small", {}, domain), label()),
      make("span.number", { title: "position in the merged feed" }, `n° ${ad.position + 1}`)),
    ...(format === "image" ? [banner(ad)] : cardBody(ad, assets)),
    acts(ad, element));
  return watch(element, ad);
}

function cardBody(ad, assets) {
  const offer = [assets.price, assets.rating && `★ ${assets.rating}`].filter(Boolean).join("  ·  ");
  return [
    assets.body ? make("p.text", {}, assets.body) : null,
    offer ? make("p.offer", {}, offer) : null,
    assets.cards ? carousel(ad, assets.cards) : link("a.picture", ad, { tabindex: -1, "aria-hidden": "true", style: "display:block" }, picture(assets.image_url, assets.alt)),
    link("a.foot", ad, {}, make("span", {}, make("b", {}, assets.title ?? ""), make("small", {}, ad.creative.advertiser_domain)),
      make("span.cta", {}, assets.cta ?? "Open")),
  ].filter(Boolean);
}

const carousel = (ad, cards) => make("div.carousel", { tabindex: 0, role: "group", "aria-label": "Cards" },
  ...cards.map((one) => link("a", ad, {}, picture(one.image_url, ""), make("span", {}, one.title))));

/** A picture or a sandboxed frame of fixed size. */
function banner(ad) {
  const { assets, size } = ad.creative;
  const [width, height] = /^\d+x\d+$/.test(size) ? size.split("x") : [300, 250];
  if (assets.html) {
    const html = assets.html.replaceAll(new URL(ad.click_url).origin, location.origin);
    return make("div.banner", {}, make("iframe", {
      width, height, title: "Sponsored", sandbox: "allow-popups allow-popups-to-escape-sandbox",
      srcdoc: `<!doctype html><style>body{margin:0}</style>${html}`,
    }));
  }
  return make("div.banner", {}, link("a", ad, {}, make("img", { src: art(assets.image_url) ?? "", alt: assets.alt ?? "Sponsored", width, height })));
}

/** A tile of the stories strip. */
export function story(ad) {
  const { assets } = ad.creative;
  const element = make("div.story.ad", { role: "listitem", "data-kind": "sponsored-story" },
    link("a", ad, {}, make("img", { src: art(assets.image_url) ?? "", alt: assets.alt ?? assets.title ?? "" }),
      make("p", {}, assets.sponsored_by ?? ad.advertiser)),
    make("button.label", { type: "button", "aria-label": "Sponsored: why this ad?", onclick: () => why(ad) }, "Sponsored"));
  return watch(element, ad);
}

/** A sponsored message. */
export function message(ad) {
  const { assets, language } = ad.creative;
  const element = make("section.card.post.ad-card.message", { "data-kind": "sponsored-message", lang: language || null, "aria-label": "Sponsored message" });
  element.append(
    make("header", {},
      art(assets.icon_url) ? make("img.icon", { src: art(assets.icon_url), alt: "" }) : null,
      make("div", {}, make("b", {}, assets.title ?? ""), make("small", {}, `Message · ${assets.sponsored_by ?? ad.advertiser}`), label())),
    make("p.text", {}, assets.body ?? ""),
    make("p", { style: "margin:.75rem 0 .25rem" }, link("a.cta", ad, {}, assets.cta ?? "Open")),
    acts(ad, element));
  return watch(element, ad);
}

/** The page placement beside the feed. */
export function rail(ad) {
  const element = make("section.card.rail", { "data-kind": "sponsored-rail", "aria-label": "Sponsored" });
  element.append(make("p", {}, label(), make("small", {}, ad.creative.advertiser_domain)), banner(ad), acts(ad, element));
  return watch(element, ad);
}
