// Asks the program that serves this page.

const NO_ANSWER = "The program behind this page does not answer. Is it still running?";

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
  return answered(response.json());
}

/** Calls `take` with every line of JSON as it arrives; the last one says that it is the last. */
export async function askForLines(path, options, take) {
  const response = await reach(path, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let isWhole = false;
  for (;;) {
    const { done, value } = await answered(reader.read());
    if (done && !isWhole) throw new Error(NO_ANSWER);
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const answer = JSON.parse(line);
      isWhole = Boolean(answer.done || answer.error);
      take(answer);
    }
  }
}

async function reach(path, options) {
  const headers = token ? { "Coca-Start": token } : {};
  const response = await answered(fetch(path, { ...options, headers }));
  if (response.ok) return response;
  let message = `The program answered with status ${response.status}.`;
  try {
    message = (await response.json()).error;
  } catch { /* not JSON: something else answers at this address */ }
  throw new Error(message[0].toUpperCase() + message.slice(1));
}

/** What a promise of the network gives; where there is none, an Error in words of this page. */
async function answered(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(NO_ANSWER);
  }
}
