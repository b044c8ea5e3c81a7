// What the browser keeps for the page from one visit to the next, where its settings allow that.

/** The text kept under a name, or null. */
export function kept(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // the browser is told to keep nothing
  }
}

export function keep(name, text) {
  try {
    localStorage.setItem(name, text);
  } catch { /* told to keep nothing, or full: the text lasts as long as the page */ }
}
