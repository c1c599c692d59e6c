// The keyboard: what Help.svelte lists. Keys typed into a field, or with a dialog open, mean what they always mean.
import { abort, canAbort, canPromote, canRollBack, promote, rollBack } from './actions';
import { linkTo, router, type Tab } from './router.svelte';
import { theme } from './theme.svelte';
import { ui } from './ui.svelte';
import { keyOf, world } from './world.svelte';

const kChord = 1_200;
const kGo: Record<string, Tab> = { o: 'overview', p: 'pipelines', r: 'releases', l: 'logs', e: 'events', v: 'variables' };

export const kKeys: [string, string][] = [
  ['?', 'this help'],
  ['/', 'find an application, service or page'],
  ['g a', 'all applications'],
  ['g o', 'overview of the application'],
  ['g p', 'pipelines'],
  ['g r', 'releases'],
  ['g l', 'logs'],
  ['g e', 'events'],
  ['g v', 'variables'],
  ['P', 'promote'],
  ['A', 'abort the rollout'],
  ['B', 'roll back'],
  ['t', 'light or dark'],
  ['Esc', 'close'],
];

const isTyping = (target: EventTarget | null) => target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

function go(key: string) {
  if (key === 'a') router.go('/');
  else if (kGo[key] && router.app) router.go(linkTo(router.app, router.env, kGo[key]));
}

function command(key: string) {
  const status = router.app ? world.statuses[keyOf(router.app, router.env)] : undefined;
  if (!status) return;
  if (key === 'P' && canPromote(status)) promote(status);
  if (key === 'A' && canAbort(status)) abort(status);
  if (key === 'B' && canRollBack(status)) rollBack(status);
}

export function listen(): () => void {
  let chordUntil = 0;
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector('dialog[open]')) return;
    if (chordUntil > event.timeStamp) {
      chordUntil = 0;
      go(event.key);
      return;
    }
    if (event.key === 'g') chordUntil = event.timeStamp + kChord;
    else if (event.key === '?') ui.panel = 'help';
    else if (event.key === '/') ui.panel = 'search';
    else if (event.key === 't') theme.toggle();
    else {
      command(event.key);
      return;
    }
    event.preventDefault();
  };
  window.addEventListener('keydown', onKey);
  return () => window.removeEventListener('keydown', onKey);
}
