/** What scripts say, in the page's language; a data block that holds no code. */
const TEXTS = JSON.parse(document.getElementById("texts")?.textContent ?? "{}");

/** The text, with its `{places}` filled in. */
export function say(key, places = {}) {
  return TEXTS[key].replace(/\{(\w+)\}/g, (_, name) => places[name]);
}

/** An element with its attributes and children; text stays text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A day as a person says it: without the year as long as it is this one. */
export function dated(iso) {
  const date = new Date(iso);
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString(document.documentElement.lang, { day: "numeric", month: "short", year });
}

export function signedOut() {
  location.replace("/");
}

/** The server's answer to a GET, or to a POST when there is a body; an Error's message is for the person. */
export async function ask(url, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(url, options);
  } catch {
    throw new Error(say("unreachable"));
  }
  if (answer.status === 401) signedOut();
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.error ?? say("went_wrong", { status: answer.status }));
  return content;
}

/** The line that says what went wrong. */
export class Problem {
  #line;

  constructor(line) {
    this.#line = line;
  }

  say(error) {
    this.#line.textContent = error.message;
    this.#line.hidden = false;
  }

  clear() {
    this.#line.hidden = true;
    this.#line.textContent = "";
  }
}
