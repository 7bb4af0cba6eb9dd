// Telegram puts what it signed into the address's fragment; its own script isn't needed to read that.
const data = new URLSearchParams(location.hash.slice(1)).get("tgWebAppData") ?? "";
history.replaceState(null, "", location.pathname);

async function enter() {
  const answer = await fetch("/telegram/app/sign-in", {
    method: "POST",
    body: new URLSearchParams({ init_data: data }),
  });
  if (answer.ok) return location.replace("/memory");
  throw new Error((await answer.json()).error);
}

enter().catch((error) => {
  document.getElementById("opening").hidden = true;
  const problem = document.getElementById("problem");
  problem.textContent = error instanceof TypeError ? problem.dataset.unreachable : error.message;
  problem.hidden = false;
});
