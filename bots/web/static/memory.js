import { ask, dated, make, Problem, say, signedOut } from "./page.js";

const RETRY_MS = 3000;

const $ = (id) => document.getElementById(id);
const problem = new Problem($("memory-problem"));
const panel = $("memory");
const narrow = matchMedia("(max-width: 60rem)");
let told = () => {};

// --- What is shown -----------------------------------------------------------------------------------

function quotation(source) {
  const when = make("time", { datetime: source.said_at }, dated(source.said_at));
  if (source.quote === source.message) return make("p", { class: "source" }, when, " ", make("q", {}, source.quote));
  return make(
    "details",
    { class: "source" },
    make("summary", {}, when, " ", make("q", {}, source.quote)),
    make("p", { class: "whole" }, source.message),
  );
}

function history({ before }) {
  const rows = before.map(({ text, from, until }) =>
    make("li", {}, `${text} `, make("span", { class: "source" }, `${dated(from)} – ${until ? dated(until) : ""}`)),
  );
  return make("details", { class: "source history" }, make("summary", {}, say("before")), make("ul", { class: "before" }, ...rows));
}

function doubts({ believed, concluded }) {
  if (concluded) return [say("concluded")];
  return believed ? [] : [say("unsure")];
}

function memoryItem(memory) {
  return make(
    "li",
    { class: "memory" },
    make("p", { class: "claim" }, memory.text),
    ...doubts(memory).map((doubt) => make("p", { class: "source" }, doubt)),
    ...memory.sources.map(quotation),
    ...(memory.before.length ? [history(memory)] : []),
    forgetting(`/web/memories/${memory.id}/forget`, memory.text, say(memory.concluded ? "without_words" : "with_words")),
  );
}

function statementItem(statement) {
  return make(
    "li",
    { class: "memory" },
    make("p", { class: "heard" }, make("q", {}, statement.text)),
    make("p", { class: "source" }, make("time", { datetime: statement.said_at }, dated(statement.said_at))),
    forgetting(`/web/messages/${statement.message}/forget`, statement.text, say("with_words")),
  );
}

/** The forget button, which asks once before it does. */
function forgetting(url, what, asked) {
  const place = make("div", { class: "forget" });
  const first = make("button", { class: "plain", "aria-label": say("forget_what", { what }) }, say("forget"));
  first.addEventListener("click", () => {
    const sure = make("button", { class: "grave" }, say("forget"));
    const no = make("button", { class: "plain" }, say("keep"));
    const question = make("span", {}, asked);
    place.replaceChildren(question, sure, no);
    no.addEventListener("click", () => {
      place.replaceChildren(first);
      first.focus();
    });
    sure.addEventListener("click", () => forget(url, place, sure));
    sure.focus();
  });
  place.append(first);
  return place;
}

async function forget(url, place, button) {
  button.disabled = true;
  problem.clear();
  try {
    await ask(url, {});
    place.closest("li").remove();
    $("status").textContent = say("forgotten");
    $("memory-title").focus();
    told();
  } catch (error) {
    problem.say(error);
    button.disabled = false;
  }
}

/** Brings a list up to date and leaves alone what stays: somebody may be reading it, or be asked about it. */
function bring(list, rows, id, item) {
  const old = new Map([...list.children].map((element) => [element.dataset.id, element]));
  const now = rows.map((row) => {
    const content = JSON.stringify(row);
    const known = old.get(row[id]);
    if (known?.content === content) return known;
    const fresh = item(row);
    fresh.dataset.id = row[id];
    fresh.content = content;
    return fresh;
  });
  for (const [at, element] of now.entries()) {
    if (list.children[at] !== element) list.insertBefore(element, list.children[at] ?? null);
  }
  while (list.childElementCount > now.length) list.lastElementChild.remove();
}

function show({ memories, unread, kept }) {
  bring($("memories"), memories, "id", memoryItem);
  bring($("unread"), unread, "message", statementItem);
  bring($("kept"), kept, "message", statementItem);
  $("memories-part").hidden = !memories.length;
  $("unread-part").hidden = !unread.length;
  $("kept-part").hidden = !kept.length;
  $("nothing").hidden = memories.length + unread.length + kept.length > 0;
  $("count").textContent = memories.length + unread.length || "";
}

// --- Hearing of changes ------------------------------------------------------------------------------

function listen() {
  const source = new EventSource("/web/memories/events");
  source.onmessage = ({ data }) => show(JSON.parse(data));
  source.onerror = async () => {
    if (source.readyState !== EventSource.CLOSED) return;
    const answer = await fetch("/web/memories").catch(() => null);
    if (answer?.status === 401) signedOut();
    else setTimeout(listen, RETRY_MS);
  };
}

// --- The drawer on a narrow page ---------------------------------------------------------------------

function setDrawer(open) {
  panel.classList.toggle("open", open);
  panel.inert = narrow.matches && !open;
  $("talk").inert = narrow.matches && open;
  $("veil").hidden = !(narrow.matches && open);
  $("open-memory").setAttribute("aria-expanded", String(open));
}

function close() {
  setDrawer(false);
  $("open-memory").focus();
}

/** Shows the memory panel and keeps it up to date; `onForgotten` hears when something was taken back. */
export function watchMemory({ onForgotten }) {
  told = onForgotten;
  $("open-memory").addEventListener("click", () => {
    setDrawer(true);
    $("close-memory").focus();
  });
  $("close-memory").addEventListener("click", close);
  $("veil").addEventListener("click", close);
  addEventListener("keydown", (event) => event.key === "Escape" && panel.classList.contains("open") && close());
  narrow.addEventListener("change", () => setDrawer(false));
  setDrawer(false);
  listen();
}
