// Numbers, instants and spans as people read them. Money stays text: it never becomes a float.

const GROUP = "\u202f"; // narrow no-break space

/** Group the digits before the point: "12345.67" to "12 345.67". */
export function grouped(digits) {
  const [whole, fraction] = String(digits).split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+$)/g, GROUP);
  return fraction === undefined ? spaced : `${spaced}.${fraction}`;
}

export const count = (number) => (number === null || number === undefined ? "–" : grouped(Math.round(number)));

/** Cents as a whole BigInt, from "19.90" or 19.9. */
export function cents(amount) {
  const [whole, fraction = ""] = String(amount).split(".");
  const sign = whole.startsWith("-") ? -1n : 1n;
  return BigInt(whole) * 100n + sign * BigInt(`${fraction}00`.slice(0, 2));
}

/** An amount with two decimals, from text or a JSON number. */
export function money(amount) {
  if (amount === null || amount === undefined) return "–";
  const all = cents(amount);
  const digits = String(all < 0n ? -all : all).padStart(3, "0");
  return `${all < 0n ? "−" : ""}${grouped(`${digits.slice(0, -2)}.${digits.slice(-2)}`)}`;
}

/** A rate per second: one decimal below a hundred. */
export function rate(number) {
  if (number === null || number === undefined) return "–";
  return number >= 99.95 || Number.isInteger(number) ? count(number) : number.toFixed(1);
}

export function milliseconds(number) {
  if (number === null || number === undefined) return "–";
  if (number >= 10000) return `${(number / 1000).toFixed(1)} s`;
  return `${number >= 10 || Number.isInteger(number) ? count(number) : number.toFixed(1)} ms`;
}

/** A span of seconds in its two largest units. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function percent(share, digits = 1) {
  return share === null || share === undefined ? "–" : `${(share * 100).toFixed(digits)} %`;
}

/** The UTC time of day of unix seconds, or of an ISO instant. */
export function clock(at) {
  return new Date(typeof at === "number" ? at * 1000 : at).toISOString().slice(11, 19);
}

/** An ISO instant as "2026-11-22 21:00:00.123". */
export function instant(at) {
  if (!at) return "–";
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? String(at) : date.toISOString().replace("T", " ").slice(0, -1);
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
