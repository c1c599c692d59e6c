// What a person may do to a delivery, each behind a question.
import { appPath, post } from './api';
import { percent } from './format';
import { world } from './world.svelte';
import { isActive, type PipelineView, type Status } from './types';
import { ui } from './ui.svelte';

async function command(status: Status, verb: string, body: Record<string, unknown> = {}) {
  world.takeStatus(await post<Status>(appPath(status.app, verb), { env: status.env, ...body }));
}

export const canPromote = (s: Status) => (isActive(s.rollout) && (s.rollout.phase === 'preparing' || s.rollout.phase === 'stepping')) || (!!s.pending && !s.pending.approved);
export const canAbort = (s: Status) => isActive(s.rollout) && s.rollout.phase !== 'rolling-back' && s.rollout.phase !== 'completing';
export const canRollBack = (s: Status) => !isActive(s.rollout) && !!s.stable && s.stable.version > 1;

export function promote(status: Status) {
  const rollout = isActive(status.rollout) ? status.rollout : null;
  const version = rollout?.to_version ?? status.pending?.version ?? 0;
  ui.ask({
    title: rollout ? `Give v${version} to everybody?` : `Deliver v${version}?`,
    text: rollout
      ? `v${version} meets ${percent(rollout.weight)} of the users. It goes to everybody without waiting for more evidence.`
      : `v${version} waits for a person. Its rollout starts now.`,
    action: rollout ? 'Promote' : 'Deliver',
    danger: false,
    run: () => command(status, 'promote'),
    done: `v${version} goes on`,
  });
}

export function abort(status: Status) {
  const rollout = status.rollout;
  if (!rollout) return;
  const back = rollout.from_version === null ? 'Nothing is served until the next release.' : `Everybody meets v${rollout.from_version} again at once.`;
  ui.ask({
    title: `Abort the rollout of v${rollout.to_version}?`,
    text: `${back} Data that v${rollout.to_version} has written stays.`,
    action: 'Abort rollout',
    danger: true,
    run: () => command(status, 'abort'),
    done: `v${rollout.to_version} is being taken back`,
  });
}

export function rollBack(status: Status, version?: number) {
  const to = version === undefined ? 'the release before' : `v${version}`;
  ui.ask({
    title: version === undefined ? 'Roll back?' : `Roll back to v${version}?`,
    text: `v${status.stable?.version ?? '?'} is replaced by ${to}, for everybody and at once. Data is not rolled back.`,
    action: 'Roll back',
    danger: true,
    run: () => command(status, 'rollback', version === undefined ? {} : { version }),
    done: `Going back to ${to}`,
  });
}

export function retryPipeline(pipeline: PipelineView) {
  ui.ask({
    title: `Run pipeline #${pipeline.id} again?`,
    text: `The same commit (${pipeline.commit.slice(0, 7)}) is built once more. Use it when what was in the way is mended: a base image, a registry, the disk.`,
    action: 'Run again',
    danger: false,
    run: async () => void (await post<PipelineView>(appPath(pipeline.app, 'pipelines/retry'), { id: pipeline.id })),
    done: `${pipeline.app}: pipeline #${pipeline.id} runs again`,
  });
}

export function stopOrStart(status: Status) {
  const verb = status.stopped ? 'start' : 'stop';
  ui.ask({
    title: status.stopped ? `Start ${status.app}?` : `Stop ${status.app}?`,
    text: status.stopped
      ? `The services of ${status.app}/${status.env} are started again.`
      : `Every service of ${status.app}/${status.env} is stopped, and users get no answer until it is started again. Volumes stay.`,
    action: status.stopped ? 'Start' : 'Stop',
    danger: !status.stopped,
    run: () => command(status, verb),
    done: status.stopped ? 'Starting' : 'Stopping',
  });
}
