// A stream of server-sent events that comes back by itself: it waits longer after each failure, notices a connection
// that has fallen silent, and rests while nobody looks at the page (a browser has six connections to one host).

export interface StreamState {
  connected: boolean;
  retryAt: number; // 0: not waiting
}

export interface StreamOptions {
  url: () => string;
  events: Record<string, (text: string, id: string) => void>;
  onState?: (state: StreamState) => void;
  // Asked after each failure, for what an EventSource does not tell: a 401.
  onFailure?: () => void;
  // The server sends something at least this often; 0 = it may be silent.
  silence?: () => number;
}

const kFirstWait = 500;
const kLongestWait = 15_000;

export class Stream {
  private source: EventSource | null = null;
  private timer = 0;
  private failures = 0;
  private heard = 0;
  private readonly watch: number;
  private closed = false;

  constructor(private readonly options: StreamOptions) {
    document.addEventListener('visibilitychange', this.look);
    window.addEventListener('online', this.retry);
    this.watch = window.setInterval(() => this.checkSilence(), 2_000);
    this.open();
  }

  close() {
    this.closed = true;
    this.drop();
    window.clearInterval(this.watch);
    document.removeEventListener('visibilitychange', this.look);
    window.removeEventListener('online', this.retry);
  }

  retry = () => {
    if (this.closed || this.source?.readyState === EventSource.OPEN) return;
    this.drop();
    this.open();
  };

  private look = () => {
    if (document.hidden) this.drop();
    else if (!this.source) this.open();
  };

  private drop() {
    window.clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  private open() {
    if (this.closed || document.hidden) return;
    const source = new EventSource(this.options.url());
    this.source = source;
    this.heard = Date.now();
    source.onopen = () => {
      this.failures = 0;
      this.heard = Date.now();
      this.options.onState?.({ connected: true, retryAt: 0 });
    };
    source.onerror = () => source === this.source && this.fail();
    for (const [name, callback] of Object.entries(this.options.events))
      source.addEventListener(name, (event) => {
        this.heard = Date.now();
        callback((event as MessageEvent<string>).data, (event as MessageEvent<string>).lastEventId);
      });
  }

  private fail() {
    this.drop();
    const wait = Math.min(kLongestWait, kFirstWait * 2 ** this.failures++) * (0.8 + 0.4 * Math.random());
    this.options.onState?.({ connected: false, retryAt: Date.now() + wait });
    this.options.onFailure?.();
    this.timer = window.setTimeout(() => this.open(), wait);
  }

  private checkSilence() {
    const most = this.options.silence?.() ?? 0;
    if (most > 0 && this.source?.readyState === EventSource.OPEN && Date.now() - this.heard > most) this.fail();
  }
}
