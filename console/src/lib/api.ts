// Requests to control. A refusal becomes ApiError with the catalogue's message and remedy.

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string,
  ) {
    super(message);
  }
}

const kTimeout = 20_000;

let onLoggedOut = () => {};
export function whenLoggedOut(callback: () => void) {
  onLoggedOut = callback;
}

export async function refusal(response: Response): Promise<ApiError> {
  if (response.status === 401) onLoggedOut();
  const text = await response.text().catch(() => '');
  try {
    const { code, message, hint } = JSON.parse(text).error;
    return new ApiError(response.status, String(code ?? ''), String(message ?? ''), String(hint ?? ''));
  } catch {
    return new ApiError(response.status, '', `Naru answered ${response.status}`, '');
  }
}

async function ask<T>(path: string, options: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(kTimeout), ...options, headers: { Accept: 'application/json', ...options.headers } });
  } catch {
    throw new ApiError(0, 'unreachable', 'Naru does not answer', 'Is it running? Look with naru doctor.');
  }
  if (!response.ok) throw await refusal(response);
  return (await response.json()) as T;
}

export const get = <T>(path: string) => ask<T>(path);

export const post = <T>(path: string, body: unknown = {}) =>
  ask<T>(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

export const appPath = (app: string, rest: string, query: Record<string, string | number> = {}) => {
  const text = new URLSearchParams(Object.entries(query).map(([k, v]) => [k, String(v)])).toString();
  return `/v1/apps/${encodeURIComponent(app)}/${rest}${text ? `?${text}` : ''}`;
};

export const explain = (error: unknown) =>
  error instanceof ApiError ? [error.message, error.hint].filter(Boolean).join('. ').replace('..', '.') : String(error);
