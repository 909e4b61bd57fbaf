/** Text of others inside a message: quoted, on one line, harmless to a terminal, and short. */

const LONGEST = 60;
/** What `JSON.stringify` leaves: DEL and C1 controls, which terminals act upon, and the two separators that end lines. */
const UNESCAPED = /[\u007f-\u009f\u2028\u2029]/g;

/** `text` as JSON writes it, cut after 60 characters. */
export function quote(text: string): string {
  const short = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return JSON.stringify(short).replace(UNESCAPED, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
