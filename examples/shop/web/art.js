// One line drawing per product, 96 x 96, in the colour of its surroundings.
'use strict';
const drawings = {
  lantern: '<path d="M36 30h24v6H36zM38 36h20l4 34H34zM32 70h32v8H32z"/><path d="M48 66c-6-5-6-12 0-19 6 7 6 14 0 19z" class="fill"/><path d="M40 30a8 10 0 0 1 16 0"/>',
  compass: '<circle cx="48" cy="50" r="27"/><circle cx="48" cy="50" r="2" class="fill"/><path d="M48 29l7 21H41z" class="fill"/><path d="M41 50h14l-7 21zM44 23h8v-7h-8z"/>',
  mug: '<path d="M26 34h38v36a8 8 0 0 1-8 8H34a8 8 0 0 1-8-8zM64 42h6a8 8 0 0 1 8 8v4a8 8 0 0 1-8 8h-6"/><path d="M36 18c4 4-4 6 0 10M46 16c4 4-4 7 0 12M56 18c4 4-4 6 0 10"/><path d="M26 46h38" class="thin"/>',
  rope: '<ellipse cx="48" cy="34" rx="26" ry="11"/><ellipse cx="48" cy="34" rx="10" ry="4"/><path d="M22 34v12c0 6 12 11 26 11s26-5 26-11V34M22 46v12c0 6 12 11 26 11s26-5 26-11V46M74 60c6 6 4 16-4 18"/>',
  leaf: '<path d="M26 70C22 40 44 24 74 24c2 30-16 50-42 44"/><path d="M24 76c8-16 22-30 38-40M40 58l-2-14M50 48l-2-12M46 54l14 2" class="thin"/>',
  cap: '<path d="M24 62c0-22 10-36 24-36s24 14 24 36"/><rect x="20" y="60" width="56" height="14" rx="5"/><circle cx="48" cy="21" r="6" class="fill"/><path d="M34 60c0-14 4-24 8-32M62 60c0-14-4-24-8-32M48 60V28" class="thin"/>',
  flag: '<path d="M28 16v64M28 20c14-6 26 8 42 0v32c-16 8-28-6-42 0"/><path d="M28 36c14-6 26 8 42 0M49 22v32" class="thin"/><circle cx="28" cy="15" r="3" class="fill"/>',
  bell: '<path d="M28 66c6-6 6-12 6-22a14 14 0 0 1 28 0c0 10 0 16 6 22z"/><path d="M24 66h48"/><circle cx="48" cy="72" r="6" class="fill"/><path d="M48 30v-8M42 20h12"/>',
  book: '<path d="M48 30c-8-6-18-7-28-5v46c10-2 20-1 28 5 8-6 18-7 28-5V25c-10-2-20-1-28 5zM48 30v46"/><path d="M27 44c4-4 8 4 14 0M27 56c4-4 8 4 14 0M55 44c4-4 8 4 14 0M55 56c4-4 8 4 14 0" class="thin"/>',
  oar: '<path d="M66 18L40 56"/><path d="M40 56c4 3 4 7 1 11-6 9-12 12-17 9s-4-10 1-19c3-5 9-5 15-1z"/><path d="M62 14l8 6M36 60l-8 12" class="thin"/>',
  salt: '<path d="M34 36h28l4 36a6 6 0 0 1-6 6H36a6 6 0 0 1-6-6zM36 36l2-14h20l2 14"/><path d="M32 58c6-6 10 4 16 0s10-4 16 0"/><circle cx="43" cy="29" r="1.6" class="fill"/><circle cx="53" cy="29" r="1.6" class="fill"/><circle cx="48" cy="26" r="1.6" class="fill"/>',
  boat: '<path d="M16 56h64L66 76H30zM48 20L30 56h36z"/><path d="M48 20v36M16 56l14-10M80 56L66 46" class="thin"/>',
};
const art = (name) => `<svg viewBox="0 0 96 96" aria-hidden="true">${drawings[name] ?? drawings.boat}</svg>`;
module.exports = { art };
