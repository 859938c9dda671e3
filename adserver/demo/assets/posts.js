// The publisher's own items: posts by invented people, always the same for the same position.

const AUTHORS = [
  ["Maëlle Torrent", "Cheffe de projet, Atelier Nord"], ["Oskar Lindqvist", "Product designer, Fernhollow"],
  ["Yasmine Belkadi", "Ingénieure qualité, Verrière & Fils"], ["Tom Ashdown", "Head of operations, Quillworks"],
  ["Baptiste Garrel", "Artisan menuisier"], ["Priya Raman", "Data engineer, Tidemark"],
  ["Solène Kermarrec", "Responsable RH, Maison Aubrac"], ["Daniel Okafor", "Supply chain lead, Brightwater"],
  ["Hugo Castellane", "Développeur indépendant"], ["Ingrid Solberg", "Architect, Studio Vidde"],
  ["Anaïs Delcourt", "Directrice pédagogique, École des Tilleuls"], ["Marcus Webb", "Sales, Copperline"],
  ["Nour El Fassi", "Pharmacienne, Clinique du Parc"], ["Elena Rossi", "Event manager, Piazza Lab"],
  ["Julien Vernay", "Chef cuisinier, La Table d'Émile"], ["Grace Holloway", "Editor, Harbour Gazette"],
];

const TEXTS = [
  ["fr", "Trois ans que nous repoussions ce chantier. Il est livré, et personne n'a eu besoin de travailler un dimanche. Merci à toute l'équipe."],
  ["en", "Small thing that changed our stand-ups: we start with what is blocked, not with what is done. Seven minutes, every day."],
  ["fr", "Un stagiaire m'a demandé pourquoi nous faisions comme ça. Je n'ai pas su répondre. Nous ne faisons plus comme ça."],
  ["en", "We hired our first apprentice in ten years. Week one, she found a bug that three of us had walked past for months."],
  ["fr", "Le premier pain de la nouvelle boulangerie d'entreprise est sorti à 6 h 40. La réunion de 9 h n'a jamais été aussi calme."],
  ["en", "Notes from a factory floor: the best dashboard I saw this year is a whiteboard and a marker on a string."],
  ["fr", "Je cherche un atelier partagé à Nantes, avec une scie à ruban et des voisins patients. Vos adresses ?"],
  ["en", "I have read forty portfolios this week. The ones I remember show what did not work, and why."],
  ["fr", "Petit rappel pour les entretiens : envoyez les questions la veille. On recrute quelqu'un, on ne tend pas un piège."],
  ["en", "Our warehouse now closes at four on Fridays. Output is the same. Friday traffic, however, misses us."],
  ["fr", "Retour d'une semaine sans réunion. Verdict : deux auraient été utiles, onze ne manquent à personne."],
  ["en", "The bridge opens on Monday. Six years, one redesign, and a family of kingfishers that got its own ledge."],
  ["fr", "J'ai quitté un bureau à Paris pour un atelier à Concarneau. On me demande si je regrette. Regardez la lumière."],
  ["en", "Looking for someone who likes messy spreadsheets and tidy answers. Part time is fine, remote is fine, kindness is not optional."],
  ["fr", "Notre notice de sécurité tenait sur quarante pages. Elle tient maintenant sur une affiche, et elle est lue."],
  ["en", "Gave a talk to twelve people today. Eleven asked a question. I will take that over a full hall any time."],
  ["fr", "Première commande à l'export : deux cents tasses pour un café de Bergen. J'ai emballé la dernière avec un peu d'émotion."],
  ["en", "We measured it: answering a customer within the hour matters less than answering once, completely."],
  ["fr", "Formation terminée ! Dix-huit mois le soir et le week-end. Merci à ma fille, qui corrigeait mes fiches."],
  ["en", "A supplier called to say they had undercharged us. We have worked together since 2009; now you know why."],
  ["fr", "Ce matin, visite de la chaufferie bois du lycée. Mille tonnes de carbone en moins par hiver, et une odeur de forêt."],
  ["en", "Retired our oldest server today. It had been up for 2 314 days. Somebody brought cake."],
  ["fr", "On parle beaucoup d'outils, rarement de ceux qui les entretiennent. Bon courage à toutes les équipes d'astreinte ce soir."],
  ["en", "Three drawings, two site visits, one long silence from the mayor, and then: yes. We are building the library."],
];

const AGES = ["2 h", "3 h", "5 h", "8 h", "11 h", "1 d", "2 d", "3 d"];

function random(seed) {
  // mulberry32, by Tommy Ettinger: small, and good enough to choose posts.
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const hue = (name) => [...name].reduce((sum, letter) => sum * 31 + letter.codePointAt(0), 7) % 360;

export const initials = (name) => name.split(" ").map((word) => word[0]).slice(0, 2).join("");

export const colour = (name) => `hsl(${hue(name)} 42% 42%)`;

/** The organic item number `number` of a reader's feed. Texts and authors do not repeat nearby. */
export function post(seed, number) {
  const own = random(seed * 7919 + number * 104729);
  const round = Math.floor(number / TEXTS.length);
  const [lang, text] = TEXTS[(number * 7 + seed * 5 + round * 3) % TEXTS.length];
  const [author, role] = AUTHORS[(number * 5 + seed * 3 + round) % AUTHORS.length];
  return {
    author, role, lang, text,
    age: AGES[Math.floor(own() * AGES.length)],
    likes: Math.floor(own() ** 3 * 900) + 3,
    comments: Math.floor(own() ** 2 * 60),
    picture: own() < 0.34 ? scene(own) : null,
  };
}

/** People with a story to look at. */
export function storyTellers(seed) {
  const own = random(seed * 31 + 5);
  return Array.from({ length: 6 }, (_, index) => {
    const [author] = AUTHORS[(seed * 3 + index * 7) % AUTHORS.length];
    return { author, picture: scene(own, 1080, 1920) };
  });
}

/** A landscape: sky, sun, three ridges. A data URI. */
function scene(own, width = 1200, height = 628) {
  const base = Math.floor(own() * 360), warm = (base + 30 + own() * 40) % 360;
  const ridge = (level, light) => {
    const top = height * level;
    let path = `M0 ${height}V${top}`;
    for (let x = 0; x <= 6; x++) {
      const y = top + (own() - 0.5) * height * 0.22;
      path += `S${(x - 0.5) * width / 6} ${y} ${x * width / 6} ${y}`;
    }
    return `<path d="${path}V${height}Z" fill="hsl(${base} 28% ${light}%)"/>`;
  };
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" preserveAspectRatio="xMidYMid slice">`
    + `<defs><linearGradient id="s" x2="0" y2="1"><stop stop-color="hsl(${base} 45% 74%)"/><stop offset="1" stop-color="hsl(${warm} 60% 86%)"/></linearGradient></defs>`
    + `<rect width="${width}" height="${height}" fill="url(#s)"/>`
    + `<circle cx="${width * (0.2 + own() * 0.6)}" cy="${height * (0.22 + own() * 0.2)}" r="${Math.min(width, height) * 0.1}" fill="hsl(${warm} 80% 93%)"/>`
    + ridge(0.52, 60) + ridge(0.66, 45) + ridge(0.82, 31) + `</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
