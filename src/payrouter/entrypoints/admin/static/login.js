// The login page: say that the token was wrong, and keep where somebody wanted to go.
const token = document.getElementById("token");
if (new URLSearchParams(location.search).has("wrong")) {
  document.getElementById("wrong").hidden = false;
  token.setAttribute("aria-invalid", "true");
}
// What is behind the # survives the server's redirects.
token.form.action = `/login${location.hash}`;
