// Folding for search in the page, the same as commerce/core/text.py: case, tone marks, hats, đ, apostrophes.

export function fold(text) {
  return text
    .replace(/['’‘ʼ`´]/g, "")
    .toLowerCase()
    .replace(/đ/g, "d")
    .normalize("NFD")
    .replace(/\p{Mn}/gu, "")
    .replace(/[^a-z0-9]+/g, " ")
    .trim();
}
