// Asks the program that serves this page.

let token; // of the program's start: the rows of another start are other images

/** Returns what the page must know at first; without it nothing else is answered. */
export async function askForStart() {
  const start = await ask("/start");
  token = start.token;
  return start;
}

/** Returns the JSON of an answer; an Error has the program's own words as its message. */
export async function ask(path, options = {}) {
  const response = await reach(path, options);
  return response.json();
}

/** Calls `take` with every line of JSON as it arrives. */
export async function askForLines(path, options, take) {
  const response = await reach(path, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) take(JSON.parse(line));
  }
}

async function reach(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: token ? { "Coca-Start": token } : {} });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The program behind this page does not answer. Is it still running?");
  }
  if (response.ok) return response;
  let message = `The program answered with status ${response.status}.`;
  try {
    message = (await response.json()).error;
  } catch { /* not JSON: something else answers at this address */ }
  throw new Error(message[0].toUpperCase() + message.slice(1));
}
