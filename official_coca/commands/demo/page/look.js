// The image that is looked at: dropped, pasted, chosen as a file, or one of the indexed ones.

import { showGallery } from "./gallery.js";
import { askForLines } from "./server.js";

export class Look {
  /** `start` is what /start answered, `labels` a Labels; `marked(rows)` is told similar images. */
  constructor(start, labels, marked) {
    this.start = start;
    this.labels = labels;
    this.marked = marked;
    for (const name of ["drop", "file", "looked_at", "looked_at_name", "look_problem", "caption",
      "similar", "similar_hint"]) {
      this[name] = document.getElementById(name);
    }
    this.section = document.getElementById("look");
    this.hint = this.caption.textContent.trim();
    if (start.caption_problem) this.caption.textContent = start.caption_problem;
    this.looked_at.addEventListener("load", () => this.reveal()); // it may be higher than before
    this.looked_at.addEventListener("error", () => {
      this.looked_at.hidden = true;
      this.drop.classList.remove("shows");
    });
    this.acceptFiles();
  }

  acceptFiles() {
    this.file.addEventListener("change", () => {
      this.openFirst(this.file.files);
      this.file.value = ""; // the same file may be chosen again
    });
    document.addEventListener("dragover", (event) => {
      if (isTextForField(event)) return;
      event.preventDefault();
      this.drop.classList.add("over");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) this.drop.classList.remove("over");
    });
    // Anywhere on the page: a browser would show a file that misses the field instead of the page.
    document.addEventListener("drop", (event) => {
      this.drop.classList.remove("over");
      if (isTextForField(event)) return;
      event.preventDefault();
      if (event.dataTransfer.files.length) this.openFirst(event.dataTransfer.files);
      else this.problem("That is no file. Save the image first, then drop the file.");
    });
    document.addEventListener("paste", (event) => this.openFirst(event.clipboardData.files));
  }

  openFirst(files) {
    if (!files.length) return;
    const [file] = files;
    const limit = this.start.max_image_bytes;
    if (file.size > limit) {
      this.problem(`${file.name} is larger than ${Math.floor(limit / 2 ** 20)} MB.`);
      return;
    }
    this.preview(URL.createObjectURL(file), file.name);
    if (files.length > 1) {
      this.looked_at_name.textContent +=
        ` (the first of ${files.length} files; drop one at a time)`;
    }
    this.run("/look", file);
  }

  openIndexed(image) {
    this.preview(`${this.start.pictures}large/${image.row}`, image.name);
    this.run(`/look/${image.row}`);
  }

  preview(address, name) {
    if (this.looked_at.src.startsWith("blob:")) URL.revokeObjectURL(this.looked_at.src);
    this.looked_at.src = address;
    this.looked_at.alt = name;
    this.looked_at.hidden = false;
    this.looked_at_name.textContent = name;
    this.drop.classList.add("shows");
    this.reveal();
  }

  /** Scrolls to the image unless all of it is seen: it may be far from what was clicked. */
  reveal() {
    const [image, section] = [this.drop, this.section].map((box) => box.getBoundingClientRect());
    const isSeen = image.top >= Math.max(0, section.top) &&
      image.bottom <= Math.min(window.innerHeight, section.bottom);
    if (!isSeen) this.drop.scrollIntoView();
  }

  /** Asks about an indexed image by its path, or about a file. */
  async run(path, file = null) {
    if (this.running) this.running.abort();
    const running = this.running = new AbortController();
    this.clear();
    try {
      const options = file ? { method: "POST", body: await contentOf(file) } : {};
      await askForLines(path, { ...options, signal: running.signal }, (answer) => {
        if (running === this.running) this.take(answer);
      });
    } catch (error) {
      if (error.name !== "AbortError" && running === this.running) this.problem(error.message);
    } finally {
      if (running === this.running) this.finish();
    }
  }

  /** Says what belongs where nothing came, and what was cut off. */
  finish() {
    this.caption.setAttribute("aria-busy", "false");
    this.similar_hint.hidden = this.similar.children.length > 0;
    if (this.caption.textContent && !this.isDone && !this.start.caption_problem) {
      this.caption.textContent += " … (cut off)";
    }
    if (this.caption.textContent) return;
    this.caption.textContent = this.hint;
    this.caption.classList.add("empty");
  }

  clear() {
    this.look_problem.hidden = true;
    this.similar.replaceChildren();
    this.similar_hint.hidden = true;
    this.labels.show(null);
    this.marked([]);
    this.isDone = false;
    if (this.start.caption_problem) return;
    this.caption.textContent = "";
    this.caption.classList.remove("empty");
    this.caption.setAttribute("aria-busy", "true");
  }

  take(answer) {
    if (answer.similar) {
      const open = (image) => this.openIndexed(image);
      showGallery(this.similar, answer.similar, this.start.pictures, open);
      this.marked(answer.similar.map((image) => image.row));
      this.labels.show(answer.image);
    }
    if (answer.caption !== undefined) this.caption.textContent = answer.caption;
    if (answer.done) this.isDone = true;
    if (answer.caption === "" && answer.done) {
      this.caption.textContent = "The model has nothing to say about this image.";
      this.caption.classList.add("empty");
    }
    if (answer.error) this.problem(answer.error);
  }

  problem(message) {
    this.look_problem.textContent = message;
    this.look_problem.hidden = false;
  }
}

/** Whether something other than a file is dragged to where text is typed. */
function isTextForField({ target, dataTransfer }) {
  return !dataTransfer.types.includes("Files") &&
    Boolean(target.closest?.('input[type="search"], textarea'));
}

async function contentOf(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    throw new Error(`${file.name} cannot be read. Is it a folder, or gone? Drop one image.`);
  }
}
