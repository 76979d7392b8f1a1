let second = -1;
let text = '';

/** The value of a Date field now; made once a second. Source: RFC 9110 section 6.6.1. */
export function httpDate(): string {
  const now = Math.floor(Date.now() / 1000);
  if (now !== second) {
    second = now;
    text = new Date(now * 1000).toUTCString();
  }
  return text;
}
