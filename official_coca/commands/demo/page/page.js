// Puts the parts of the page together.

import { showGallery } from "./gallery.js";
import { keep, kept } from "./kept.js";
import { Labels } from "./labels.js";
import { Look } from "./look.js";
import { EmbeddingMap } from "./map.js";
import { ask, askForStart } from "./server.js";
import { imageCount, tell } from "./wording.js";

const PAUSE = 400; // milliseconds without a key before a text is searched for
const THEME = "coca_theme";

function chooseTheme() {
  const button = document.getElementById("theme");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = kept(THEME);
  const show = () => {
    if (chosen) document.documentElement.dataset.theme = chosen;
    button.setAttribute("aria-pressed", String(chosen ? chosen === "dark" : dark.matches));
  };
  button.addEventListener("click", () => {
    chosen = button.getAttribute("aria-pressed") === "true" ? "light" : "dark";
    keep(THEME, chosen);
    show();
  });
  dark.addEventListener("change", show);
  show();
}

function searchByText(start, look, map) {
  const [form, field, status, list] = ["search_form", "query", "search_status", "found"].map(
    (name) => document.getElementById(name));
  if (start.text_problem) {
    form.hidden = true;
    status.textContent = start.text_problem;
    return;
  }
  const hint = status.textContent.trim();
  let timer;
  let last = "";
  let marked;
  const clear = (message, isProblem) => {
    last = "";
    list.replaceChildren();
    map.unmark(marked);
    tell(status, message, isProblem);
  };
  const search = async () => {
    clearTimeout(timer);
    const text = field.value.trim();
    if (text === last) return;
    if (!text) {
      clear(hint); // an answer that is on its way comes too late
      return;
    }
    last = text;
    tell(status, "Searching …");
    try {
      const { found } = await ask(`/search?text=${encodeURIComponent(text)}`);
      if (text !== last) return; // an answer to an earlier text comes too late
      showGallery(list, found, start.pictures, (image) => look.openIndexed(image));
      marked = map.mark(found.map((image) => image.row));
      tell(status, `${imageCount(found.length)} nearest to “${text}”, by cosine similarity.`);
    } catch (error) {
      if (text === last) clear(error.message, true);
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE);
  });
}

async function begin() {
  chooseTheme();
  const about = document.getElementById("about");
  let start;
  try {
    start = await askForStart();
  } catch (error) {
    about.textContent = error.message;
    return;
  }
  about.textContent = `${imageCount(start.images)} · ${start.model}`;
  document.getElementById("method").textContent =
    `Search: ${start.search}. Everything on this page comes from the program on this machine.`;
  const labels = new Labels();
  if (start.text_problem) labels.disable(start.text_problem);
  let look;
  const map = new EmbeddingMap(start.pictures, (image) => look.openIndexed(image));
  look = new Look(start, labels, (rows) => map.mark(rows));
  searchByText(start, look, map);
  map.load();
}

begin();
