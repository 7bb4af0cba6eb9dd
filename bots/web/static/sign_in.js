// Posting takes a script on a page that is looked at: previews and prerendering don't use the token up.
function enter() {
  const form = document.getElementById("sign-in");
  history.replaceState(null, "", "/sign-in");
  form.querySelector("button").disabled = true; // a second post would find the token used
  form.submit();
}

if (document.prerendering) document.addEventListener("prerenderingchange", enter, { once: true });
else enter();
