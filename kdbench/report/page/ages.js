"use strict";
// How long ago a day is: known when the page is read, not when it is made.
for (const time of document.querySelectorAll("time")) {
  const days = Math.floor((Date.now() - Date.parse(time.dateTime)) / 864e5);
  if (days >= 0) time.textContent += days === 0 ? ", today" : days === 1 ? ", yesterday" : `, ${days} days ago`;
}
