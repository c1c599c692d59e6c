// What the console knows of the platform, kept fresh by one stream: applications, statuses, and the last minutes of traffic.
import { ApiError, get, whenLoggedOut } from './api';
import { Stream } from './stream';
import type { AppSummary, Side, Status, Traffic } from './types';

export const kHistorySeconds = 300;
const kSilence = 12_000;
const kSummaries = 10_000;

export const keyOf = (app: string, env: string) => `${app}/${env}`;

class World {
  apps = $state<AppSummary[] | null>(null);
  statuses = $state<Record<string, Status>>({});
  traffic = $state<Record<string, Traffic>>({});
  connected = $state(false);
  everConnected = $state(false);
  // Rises when a lost connection is back: what was asked for once is asked for again.
  returns = $state(0);
  retryAt = $state(0);
  loggedOut = $state(false);
  version = $state('');

  // Not reactive by itself: charts redraw on `traffic`.
  readonly history = new Map<string, Traffic[]>();
  private stream: Stream | null = null;
  private timer = 0;

  start() {
    whenLoggedOut(() => {
      this.loggedOut = true;
      this.stop();
    });
    void this.refresh();
    this.timer = window.setInterval(() => !document.hidden && void this.refresh(), kSummaries);
    this.stream = new Stream({
      url: () => `/v1/live?since=${this.newest()}`,
      events: {
        status: (text) => this.takeStatus(JSON.parse(text)),
        traffic: (text) => this.takeTraffic([JSON.parse(text)]),
        past: (text) => this.takeTraffic(JSON.parse(text)),
      },
      onState: (state) => {
        this.connected = state.connected;
        this.retryAt = state.retryAt;
        if (!state.connected) return;
        if (this.everConnected) ++this.returns;
        this.everConnected = true;
      },
      onFailure: () => void this.refresh(),
      silence: () => (Object.keys(this.statuses).length ? kSilence : 0),
    });
    void get<{ version: string }>('/v1/version').then(
      (answer) => (this.version = answer.version),
      () => {},
    );
  }

  stop() {
    window.clearInterval(this.timer);
    this.stream?.close();
    this.stream = null;
  }

  reconnect() {
    this.stream?.retry();
  }

  async refresh() {
    try {
      const { apps } = await get<{ apps: AppSummary[] }>('/v1/apps');
      this.apps = apps;
      const known = new Set(apps.flatMap((app) => app.environments.map((e) => keyOf(app.name, e.name))));
      for (const key of Object.keys(this.statuses)) if (!known.has(key)) delete this.statuses[key];
    } catch (error) {
      // The banner speaks of a lost connection, the login page of a lost session.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  takeStatus(status: Status) {
    const key = keyOf(status.app, status.env);
    const isNew = !(key in this.statuses);
    this.statuses[key] = status;
    if (isNew && this.apps && !this.apps.some((app) => app.name === status.app && app.environments.some((e) => e.name === status.env)))
      void this.refresh();
  }

  // What is known already is not asked for again: by the server's clock, after a reload all that it keeps.
  private newest() {
    return Math.max(1, ...Object.values(this.traffic).map((t) => t.at));
  }

  // Of one environment, oldest first.
  private takeTraffic(samples: Traffic[]) {
    const newest = samples.at(-1);
    if (!newest) return;
    const key = keyOf(newest.app, newest.env);
    const past = this.history.get(key) ?? [];
    past.push(...samples.filter((t) => t.at !== past.at(-1)?.at)); // the newest may come twice
    while (past.length > 1 && past[0].at < newest.at - kHistorySeconds * 1000) past.shift();
    this.history.set(key, past);
    this.traffic[key] = newest;
  }
}

export const world = new World();

export interface Flow {
  rps: number;
  failures: number;
}

// What users ask for. Calls between services are left out: one request of a user may make ten of them.
export function userFlow(traffic: Traffic | undefined, sides?: Side[]): Flow {
  const rows = (traffic?.services ?? []).filter((s) => !sides || sides.includes(s.side));
  return { rps: rows.reduce((n, s) => n + s.user_requests_per_second, 0), failures: rows.reduce((n, s) => n + s.user_failures_per_second, 0) };
}
