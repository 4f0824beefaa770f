// The login page: say that the token was wrong.
const wrong = document.getElementById("wrong");
if (new URLSearchParams(location.search).has("wrong")) {
  wrong.hidden = false;
  document.getElementById("token").setAttribute("aria-invalid", "true");
}
