// The shapes of docs/api.md. Times are milliseconds since the epoch, 0 = not yet; shares are basis points.

export type Health = 'ok' | 'degraded' | 'down' | 'empty';
export type Side = 'stable' | 'canary' | 'both' | 'old';
export type Phase = 'preparing' | 'stepping' | 'completing' | 'rolling-back' | 'done' | 'rolled-back';
export type StageState = 'waiting' | 'running' | 'succeeded' | 'failed' | 'cancelled';

export interface EnvironmentSummary {
  name: string;
  stable: { version: number; commit: string } | null;
  rollout: { phase: Phase; to: number; weight: number } | null;
  health: Health;
  message?: string;
  addresses: string[];
}

export interface AppSummary {
  name: string;
  created: number;
  environments: EnvironmentSummary[];
}

export interface ServiceView {
  name: string;
  revision: string;
  ready: number;
  wanted: number;
  stateful: boolean;
  oneshot?: boolean;
  depends_on?: string[];
  addresses: string[];
  changed_in_rollout: boolean;
}

export interface InstanceView {
  id: string;
  app: string;
  env: string;
  service: string;
  release_version: number;
  side: Side;
  phase: string;
  address: string;
  pid: number;
  attempt: number;
  restarts: number;
  exit_code: number | null;
  out_of_memory?: boolean;
  error: string;
  started: number;
  ready_at: number;
  memory_bytes?: number;
  cpu_usec?: number;
}

export interface SideCounts {
  users_seen: number;
  users_bad: number;
  users_slow: number;
  requests: number;
  failed: number;
}

export interface EvidenceView {
  metric: string;
  canary: SideCounts;
  stable: SideCounts;
  bad_canary: number;
  bad_stable: number;
  share: number;
  odds_ratio: number;
  odds_low: number;
  odds_high: number;
  rate_high: number;
  m: number;
  threshold: number;
  exact_p: number;
  exact_limit: number;
}

export interface Verdict {
  kind: 'hold' | 'promote' | 'roll-back' | 'inconclusive';
  metric: string;
  reason: string;
  evidence: EvidenceView[];
}

export interface FailedRequest {
  time: number;
  side: 'stable' | 'canary';
  service: string;
  method: string;
  path: string;
  status: number;
  outcome?: string;
  duration_us: number;
  trace_id: string;
  step?: number;
}

export interface RolloutView {
  id: number;
  app: string;
  env: string;
  from_version: number | null;
  to_version: number;
  commit: string;
  subject: string;
  strategy?: string;
  bake?: number;
  is_rollback?: boolean;
  phase: Phase;
  superseded: boolean;
  step: number;
  steps: { weight: number; started: number; passed: number; verdict: string }[];
  planned: { weight: number; min_duration: number; min_users: number }[];
  slow_us: number; // above it a request is slow; 0: latency is not judged
  weight: number;
  reason: string;
  verdict: Verdict | null;
  changed: string[];
  created: number;
  first_user: number;
  completed: number;
  ended: number;
  failed_requests: FailedRequest[];
}

export interface PipelineView {
  id: number;
  app: string;
  commit: string;
  subject: string;
  author: string;
  state: StageState;
  error: string;
  hint?: string;
  warnings: string[];
  builds: { service: string; state: StageState; cached: boolean; started: number; finished: number; error: string }[];
  release_version: number | null;
  pushed: number;
  planned_at: number;
  finished: number;
}

export interface Status {
  app: string;
  env: string;
  stopped?: boolean;
  health?: Health;
  stable: { id: number; version: number; commit: string; subject: string } | null;
  pending: { version: number; approved: boolean } | null;
  services: ServiceView[];
  instances: InstanceView[];
  rollout: RolloutView | null;
  pipeline: PipelineView | null;
  addresses: { service: string; url: string }[];
  message: string;
}

export interface UserCounts {
  seen: number;
  bad: number;
  slow: number;
}

export interface ServiceTraffic {
  name: string;
  side: Side;
  version: number;
  requests_per_second: number;
  failures_per_second: number;
  // Of users alone, without the calls between services.
  user_requests_per_second: number;
  user_failures_per_second: number;
  p50_us: number;
  p99_us: number;
  active: number;
}

export interface Traffic {
  app: string;
  env: string;
  at: number;
  services: ServiceTraffic[];
  users: { stable: UserCounts; canary: UserCounts };
}

export interface ReleaseView {
  id: number;
  version: number;
  commit: string;
  subject: string;
  author: string;
  created: number;
  current: boolean;
  taken_back: boolean;
  superseded: boolean;
  served: boolean;
  services: { name: string; revision: string; image: string; changed: boolean | null }[];
}

export interface StoredEvent {
  sequence: number;
  at: number;
  app: string;
  event: { event: string } & Record<string, unknown>;
}

export interface LogLine {
  time: number | string;
  service: string;
  instance: string;
  stream: string;
  text: string;
}

export const isActive = (rollout: RolloutView | null | undefined): rollout is RolloutView =>
  !!rollout && rollout.phase !== 'done' && rollout.phase !== 'rolled-back';

export const isUnderWay = (state: StageState) => state === 'waiting' || state === 'running';
