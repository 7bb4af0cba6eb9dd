// The page works without this. With it, days read as people say them, and a form answers in its place.

const status = () => document.getElementById("done");

/** A day or a month as a person says it; it is a day of the calendar, wherever it is read. */
function said(time) {
  const [year, month, day] = time.dateTime.split("-").map(Number);
  const options = { year: "numeric", month: day ? "short" : "long", day: day && "numeric" };
  time.textContent = new Intl.DateTimeFormat(document.documentElement.lang, options).format(
    new Date(year, month - 1, day ?? 1),
  );
}

function localize(root) {
  root.querySelectorAll("time").forEach(said);
}

/** Puts the page that a form led to in the place of this one's content, and leaves open what was open. */
function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("content");
  if (!fresh) return false;
  localize(fresh);
  document.getElementById("content").replaceWith(fresh);
  status().focus({ preventScroll: true });
  return true;
}

/** A reload mustn't tell again of what was done. */
function settle(address) {
  const plain = new URL(address);
  plain.searchParams.delete("done");
  history.replaceState(null, "", plain);
}

async function send(form, button) {
  button.disabled = true;
  try {
    const body = new URLSearchParams(new FormData(form));
    const answer = await fetch(form.action, { method: "POST", body });
    if (!show(await answer.text())) form.submit(); // the answer is another page, such as the way in
    else if (answer.redirected) settle(answer.url);
  } catch {
    form.submit(); // the browser tells that nobody is there
  }
}

addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.closest("#content .acts")) return;
  event.preventDefault();
  send(form, event.submitter ?? form.querySelector("button"));
});

addEventListener("keydown", (event) => {
  const ask = event.key === "Escape" && event.target.closest?.(".ask[open]");
  if (!ask) return;
  ask.open = false;
  ask.querySelector("summary").focus();
});

settle(location.href);
localize(document);
