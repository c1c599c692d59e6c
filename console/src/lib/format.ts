export const percent = (basisPoints: number) => `${+(basisPoints / 100).toFixed(2)}%`;

export function duration(ms: number): string {
  if (ms < 0) ms = 0;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  const two = (n: number, unit: string, rest: number, lesser: string) => `${n} ${unit}${rest ? ` ${rest} ${lesser}` : ''}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), 'min', s % 60, 's');
  if (s < 86_400) return two(Math.floor(s / 3600), 'h', Math.floor((s % 3600) / 60), 'min');
  return two(Math.floor(s / 86_400), 'd', Math.floor((s % 86_400) / 3600), 'h');
}

export function ago(at: number, now: number): string {
  if (!at) return '';
  const s = Math.max(0, Math.round((now - at) / 1000));
  if (s < 5) return 'just now';
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

export function micros(us: number): string {
  if (us <= 0) return '–';
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1_000_000) return `${us < 10_000 ? (us / 1000).toFixed(1) : Math.round(us / 1000)} ms`;
  return `${(us / 1_000_000).toFixed(2)} s`;
}

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    ++i;
  }
  return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

export const count = (n: number) => n.toLocaleString('en-US');
export const many = (n: number, what: string) => `${count(n)} ${what}${n === 1 ? '' : 's'}`;

export function rate(n: number): string {
  if (n <= 0) return '0';
  if (n < 0.05) return '<0.1';
  return n < 10 ? n.toFixed(1) : count(Math.round(n));
}

export function significant(n: number, digits = 3): string {
  if (!isFinite(n)) return '∞';
  if (n !== 0 && (Math.abs(n) >= 1e5 || Math.abs(n) < 1e-3)) return n.toExponential(1);
  return String(+n.toPrecision(digits));
}

const pad = (n: number, width = 2) => String(n).padStart(width, '0');

export function clock(at: number | string, millis = false): string {
  const d = new Date(at);
  if (isNaN(d.getTime())) return '';
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}${millis ? `.${pad(d.getMilliseconds(), 3)}` : ''}`;
}

export function day(at: number): string {
  return new Date(at).toLocaleDateString(undefined, { year: 'numeric', month: 'short', day: 'numeric' });
}

// A line as a terminal would leave it: without colours, and of a progress that was written over only the last.
export const plain = (line: string) =>
  line
    .replace(/\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)/g, '')
    .replace(/^.*\r(?=.)/, '')
    .replace(/[\x00-\x08\x0b-\x1f\x7f]/g, '');

export const shortCommit = (commit: string) => commit.slice(0, 8);
