// One clock for all that says "12 s ago".
class Now {
  ms = $state(Date.now());
  constructor() {
    window.setInterval(() => !document.hidden && (this.ms = Date.now()), 1000);
  }
}
export const now = new Now();
