// Words and colours of states.
import type { Health, Phase, Side, StageState } from './types';

export type Tone = 'good' | 'bad' | 'warn' | 'stable' | 'canary' | 'quiet';

export const healthWords: Record<Health, [Tone, string]> = {
  ok: ['good', 'healthy'],
  degraded: ['warn', 'degraded'],
  down: ['bad', 'down'],
  empty: ['quiet', 'empty'],
};

export const phaseWords: Record<Phase, [Tone, string]> = {
  preparing: ['quiet', 'starting'],
  stepping: ['canary', 'canary'],
  completing: ['good', 'finishing'],
  'rolling-back': ['bad', 'rolling back'],
  done: ['good', 'done'],
  'rolled-back': ['bad', 'rolled back'],
};

export const stageWords: Record<StageState, [Tone, string]> = {
  waiting: ['quiet', 'waiting'],
  running: ['canary', 'running'],
  succeeded: ['good', 'succeeded'],
  failed: ['bad', 'failed'],
  cancelled: ['quiet', 'cancelled'],
};

export const sideTones: Record<Side, Tone> = { stable: 'stable', canary: 'canary', both: 'good', old: 'quiet' };

export const instanceTone = (phase: string): Tone =>
  phase === 'ready' || phase === 'completed' ? 'good' : phase === 'failed' ? 'bad' : phase === 'waiting' ? 'warn' : 'quiet';

const kEventWords: Record<string, [Tone, string]> = {
  AppCreated: ['quiet', 'application created'],
  AppRemoved: ['quiet', 'application removed'],
  HistoryRemoved: ['quiet', 'old releases forgotten'],
  EnvironmentCreated: ['quiet', 'environment created'],
  EnvironmentRemoved: ['quiet', 'environment removed'],
  EnvironmentStopped: ['warn', 'environment stopped'],
  VariablesSet: ['quiet', 'variables changed'],
  NetworkReady: ['quiet', 'network ready'],
  NetworkFailed: ['bad', 'network cannot be made'],
  UdpRoutesRefused: ['bad', 'UDP between services cannot be forwarded'],
  PipelineCreated: ['stable', 'push received'],
  PipelinePlanned: ['stable', 'pipeline planned'],
  BuildStarted: ['stable', 'build started'],
  BuildFinished: ['stable', 'build finished'],
  PipelineFinished: ['stable', 'pipeline finished'],
  ReleaseCreated: ['good', 'release made'],
  ReleasePending: ['quiet', 'release pending'],
  RolloutStarted: ['canary', 'rollout started'],
  StepStarted: ['canary', 'step started'],
  StepLive: ['canary', 'users meet it'],
  StepPassed: ['good', 'step passed'],
  LatencyBaselineSet: ['quiet', 'latency baseline set'],
  RolloutResumed: ['canary', 'promoted by a person'],
  ServiceSwapped: ['canary', 'stateful service swapped'],
  OneshotCompleted: ['good', 'one-shot done'],
  RolloutPhaseChanged: ['canary', 'rollout'],
  InstanceCreated: ['quiet', 'instance wanted'],
  InstanceStarting: ['quiet', 'instance starting'],
  InstanceStarted: ['quiet', 'instance started'],
  InstanceReady: ['good', 'instance ready'],
  InstanceUnready: ['warn', 'instance not ready'],
  InstanceExited: ['warn', 'instance exited'],
  InstanceRetired: ['quiet', 'instance retired'],
  InstanceStopping: ['quiet', 'instance stopping'],
  InstanceStopFailed: ['bad', 'instance does not stop'],
  InstanceRemoved: ['quiet', 'instance removed'],
  VirtualAddressAssigned: ['quiet', 'address assigned'],
};

export interface Told {
  tone: Tone;
  title: string;
  text: string;
  // Of the machinery rather than of the delivery: hidden until asked for.
  detail: boolean;
}

const text = (value: unknown) => (typeof value === 'string' || typeof value === 'number' ? String(value) : '');
const field = (value: unknown, name: string) => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined);

// An event as one line. Unknown events are shown by their name: a newer Naru must not break the page.
export function tell(event: { event: string } & Record<string, unknown>): Told {
  const [tone, title] = kEventWords[event.event] ?? ['quiet' as Tone, event.event];
  const detail = /^(Instance(Created|Starting|Started|Retired|Stopping|Removed)|NetworkReady|VirtualAddressAssigned|LatencyBaselineSet|StepLive|ReleasePending|EnvironmentCreated)$/.test(event.event);
  const told = { tone, title, text: '', detail };
  switch (event.event) {
    case 'PipelineCreated':
      return { ...told, text: `${text(field(event.pipeline, 'subject'))} (${text(field(event.pipeline, 'commit')).slice(0, 8)})` };
    case 'PipelinePlanned': {
      const services = field(event.spec, 'services');
      return { ...told, text: Array.isArray(services) ? services.join(', ') : '' };
    }
    case 'BuildFinished':
      return { ...told, tone: event.ok ? 'stable' : 'bad', title: event.ok ? (event.cached ? 'nothing to build, taken from the cache' : 'build finished') : 'build failed', text: [text(event.service), text(event.error)].filter(Boolean).join(': ') };
    case 'PipelineFinished':
      return { ...told, tone: event.state === 'succeeded' ? 'good' : event.state === 'failed' ? 'bad' : 'quiet', title: `pipeline ${text(event.state)}`, text: text(event.error) };
    case 'ReleaseCreated':
      return { ...told, text: `v${text(field(event.release, 'version'))} ${text(field(event.release, 'subject'))}` };
    case 'StepStarted':
      return { ...told, text: `${Number(event.weight) / 100}% of the users` };
    case 'StepPassed':
      return { ...told, text: text(event.verdict) };
    case 'RolloutPhaseChanged': {
      const words = phaseWords[event.phase as Phase] ?? ['quiet', text(event.phase)];
      // A newer release took its place: no fault of its own.
      const tone = text(event.reason).startsWith('superseded by ') ? 'quiet' : words[0];
      return { ...told, tone, title: `rollout: ${words[1]}`, text: text(event.reason) };
    }
    case 'RolloutResumed':
      return { ...told, text: event.by ? `by ${text(event.by)}` : '' };
    case 'VariablesSet': {
      const names = [...Object.keys((event.set as object) ?? {}), ...((event.unset as string[]) ?? []).map((name) => `−${name}`)];
      return { ...told, text: names.join(', ') };
    }
    case 'EnvironmentStopped':
      return { ...told, title: event.stopped ? 'environment stopped' : 'environment started', text: text(event.environment) };
    case 'InstanceExited':
      return { ...told, tone: event.next === 'completed' ? 'quiet' : 'bad', text: `${text(event.instance)}: ${event.out_of_memory ? 'out of memory' : text(event.error) || `exit ${text(event.exit_code)}`}` };
    case 'InstanceStopFailed':
      return { ...told, text: `${text(event.instance)}: ${text(event.error)}` };
    case 'NetworkFailed':
      return { ...told, text: `${text(event.environment)}: ${text(event.error)}` };
    case 'UdpRoutesRefused':
      return event.error ? { ...told, text: `${text(event.environment)}: ${text(event.error)}` } : { ...told, tone: 'good', title: 'UDP between services is forwarded', text: text(event.environment) };
    case 'InstanceUnready':
      return { ...told, text: `${text(event.instance)}: ${text(event.reason)}` };
    case 'InstanceCreated':
      return { ...told, text: text(field(event.instance, 'id')) };
    default:
      return { ...told, text: text(event.instance) || text(event.service) || text(event.app) || text(field(event.app, 'name')) };
  }
}
