import { watchMemory } from "./memory.js";
import { ask, dated, make, Problem, say, signedOut } from "./page.js";

const RETRY_MS = 3000;
const NEAR_PX = 120;

const $ = (id) => document.getElementById(id);
const box = $("text");
const problem = new Problem($("problem"));
const KEY = `mneme:conversation:${document.body.dataset.name}`;
const PENDING = `mneme:pending:${document.body.dataset.name}`;

let conversation = localStorage.getItem(KEY);
let sending = false;
/** What the box held when sending failed: tried again, it is the same message. */
let unsent = null;
/** Messages without an ended reply: {event, text, conversation, inbox}, with their elements and stream. */
let pending = JSON.parse(sessionStorage.getItem(PENDING) ?? "[]");
/** Turns on the page: number to the entry that shows its reply, or null when it came with the history. */
let turns = new Map();

const newId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function keep() {
  const plain = pending.map(({ event, text, conversation, inbox }) => ({ event, text, conversation, inbox }));
  sessionStorage.setItem(PENDING, JSON.stringify(plain));
}

// --- What is shown -----------------------------------------------------------------------------------

function showing(change) {
  const scroll = $("scroll");
  const follow = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_PX;
  change();
  $("empty").hidden = $("messages").childElementCount > 0;
  if (follow) scroll.scrollTop = scroll.scrollHeight;
}

function said(text) {
  return make("li", { class: "said" }, make("span", { class: "unseen" }, say("you")), make("p", {}, text));
}

function reply(html, { writing = false } = {}) {
  const words = make("div", { class: "words" });
  words.innerHTML = html; // rendered and made safe by the server
  const item = make("li", { class: "reply" }, make("span", { class: "unseen" }, say("assistant")), words);
  item.classList.toggle("writing", writing);
  return item;
}

function recalled(memories) {
  const first = memories[0].text;
  const more = memories.length > 1 ? say("and_more", { count: memories.length - 1 }) : "";
  return make(
    "details",
    { class: "recalled" },
    make("summary", {}, make("span", {}, say("remembered")), make("q", {}, first), more),
    make(
      "ul",
      {},
      ...memories.map((memory) =>
        make("li", {}, memory.text, " ", make("time", { datetime: memory.source.said_at }, dated(memory.source.said_at))),
      ),
    ),
  );
}

// --- Replies -----------------------------------------------------------------------------------------

function follow(entry) {
  entry.source = new EventSource(`/web/replies/${entry.inbox}`);
  entry.source.onopen = () => ($("connection").textContent = "");
  entry.source.onmessage = ({ data }) => heard(entry, JSON.parse(data));
  entry.source.onerror = () => {
    if (entry.source.readyState === EventSource.CLOSED) findOut(entry);
    else $("connection").textContent = say("connection_broke");
  };
}

/** The stream was refused: for good, or only now? */
async function findOut(entry) {
  let status = 0;
  try {
    const answer = await fetch(`/web/replies/${entry.inbox}`);
    status = answer.status;
    await answer.body?.cancel();
  } catch {
    $("connection").textContent = say("trying_again");
  }
  if (status === 401) signedOut();
  else if (status === 404) showing(() => drop(entry));
  else setTimeout(() => pending.includes(entry) && follow(entry), RETRY_MS);
}

function heard(entry, event) {
  const other = turns.get(event.turn);
  if (other === null) return showing(() => drop(entry)); // it came with the history meanwhile
  showing(() => {
    if (other && other !== entry) {
      // Two messages of one burst have one reply: it stands under the later one.
      const [earlier, later] = other.inbox < entry.inbox ? [other, entry] : [entry, other];
      earlier.reply.remove();
      earlier.source.close();
      pending = pending.filter((each) => each !== earlier);
      keep();
      turns.set(event.turn, later);
      if (later !== entry) return;
    }
    turns.set(event.turn, entry);
    entry.reply.querySelector(".words").innerHTML = event.html;
    entry.reply.classList.toggle("failed", event.failed);
    if (event.ended) end(entry, event);
  });
}

function end(entry, event) {
  entry.source.close();
  entry.reply.classList.remove("writing");
  if (event.memories.length) entry.reply.append(recalled(event.memories));
  pending = pending.filter((each) => each !== entry);
  keep();
  $("status").textContent = event.text;
}

function drop(entry) {
  entry.source?.close();
  entry.said.remove();
  entry.reply.remove();
  pending = pending.filter((each) => each !== entry);
  keep();
}

function place(entry) {
  entry.said ??= said(entry.text);
  entry.reply ??= reply("", { writing: true });
  showing(() => $("messages").append(entry.said, entry.reply));
}

// --- Sending -----------------------------------------------------------------------------------------

async function send() {
  const text = box.value;
  if (sending || !text.trim()) return;
  sending = true;
  box.readOnly = $("send").disabled = true;
  problem.clear();
  const entry = unsent?.text === text ? unsent : { event: newId(), text, conversation };
  try {
    await post(entry);
    unsent = null;
    box.value = "";
    fit();
  } catch (error) {
    unsent = entry;
    problem.say(error);
  } finally {
    sending = false;
    box.readOnly = $("send").disabled = false;
    box.focus();
  }
}

async function post(entry) {
  const { event, text, conversation } = entry;
  const utc_offset = -new Date().getTimezoneOffset();
  const accepted = await ask("/web/messages", { event, text, conversation, utc_offset });
  entry.inbox = accepted.inbox;
  pending.push(entry);
  keep();
  $("scroll").scrollTop = $("scroll").scrollHeight;
  place(entry);
  follow(entry);
}

// --- The conversation --------------------------------------------------------------------------------

async function load() {
  const query = conversation ? `?conversation=${encodeURIComponent(conversation)}` : "";
  const found = await ask(`/web/history${query}`);
  begin(found.conversation ?? newId());
  turns = new Map(found.messages.map((message) => [message.turn, null]));
  showing(() => {
    $("messages").replaceChildren(
      ...found.messages.map((message) => (message.role === "user" ? said(message.text) : reply(message.html))),
    );
  });
  $("scroll").scrollTop = $("scroll").scrollHeight;
  for (const entry of pending.filter((each) => each.conversation === conversation)) {
    place(entry);
    if (!entry.source) follow(entry);
  }
}

function begin(key) {
  conversation = key;
  localStorage.setItem(KEY, key);
}

async function loadPatiently() {
  try {
    await load();
    problem.clear();
  } catch (error) {
    problem.say(error);
    setTimeout(loadPatiently, RETRY_MS);
  }
}

/** What was taken back may stand in this conversation's replies, which are then gone too. */
async function reloadForgotten() {
  const before = $("messages").childElementCount;
  await loadPatiently();
  if (!before || $("messages").childElementCount) return;
  showing(() => $("messages").append(make("li", { class: "aside" }, say("afresh"))));
}

function startAfresh() {
  for (const entry of pending) entry.source?.close();
  pending = [];
  keep();
  begin(newId());
  turns = new Map();
  problem.clear();
  showing(() => $("messages").replaceChildren());
  box.focus();
}

function fit() {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

// --- What the person does ----------------------------------------------------------------------------

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
box.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
box.addEventListener("input", fit);
$("new").addEventListener("click", startAfresh);
$("sign-out").addEventListener("submit", () => sessionStorage.removeItem(PENDING));
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => {
    box.value = example.textContent;
    fit();
    box.focus();
  });
}

$("scroll").addEventListener("scroll", () => {
  document.body.classList.toggle("scrolled", $("scroll").scrollTop > 0);
});

watchMemory({ onForgotten: reloadForgotten });
await loadPatiently();
if (matchMedia("(hover: hover)").matches) box.focus();
