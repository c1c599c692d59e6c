// /, /apps/shop, /apps/shop/pipelines/12?env=staging
export const kTabs = ['overview', 'pipelines', 'releases', 'logs', 'events', 'variables'] as const;
export type Tab = (typeof kTabs)[number];

// A path that was typed may be no path at all.
function decoded(part: string) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

class Router {
  path = $state(location.pathname);
  query = $state(new URLSearchParams(location.search));

  constructor() {
    window.addEventListener('popstate', () => this.read());
    // Links of the console itself load no page.
    document.addEventListener('click', (event) => {
      if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      const link = (event.target as Element | null)?.closest?.('a');
      if (!link || link.target || link.hash || link.origin !== location.origin || link.hasAttribute('download')) return;
      event.preventDefault();
      this.go(link.pathname + link.search);
    });
  }

  go(to: string) {
    if (to === location.pathname + location.search) return;
    history.pushState(null, '', to);
    this.read();
    window.scrollTo(0, 0);
  }

  // Changes what the page shows without a step for the back button.
  set(query: Record<string, string>) {
    const next = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(query)) value ? next.set(name, value) : next.delete(name);
    history.replaceState(null, '', location.pathname + (next.size ? `?${next}` : ''));
    this.read();
  }

  private read() {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }

  get parts() {
    return this.path.split('/').filter(Boolean).map(decoded);
  }
  get app() {
    return this.parts[0] === 'apps' ? (this.parts[1] ?? '') : '';
  }
  get tab(): Tab {
    const name = this.parts[2] as Tab;
    return kTabs.includes(name) ? name : 'overview';
  }
  get item() {
    return this.parts[3] ?? '';
  }
  get env() {
    return this.query.get('env') || 'production';
  }
}

export const router = new Router();

export const linkTo = (app: string, env = 'production', tab: Tab = 'overview', item: string | number = '') =>
  `/apps/${encodeURIComponent(app)}${tab === 'overview' ? '' : `/${tab}`}${item === '' ? '' : `/${item}`}${env === 'production' ? '' : `?env=${encodeURIComponent(env)}`}`;

export function logsOf(app: string, env: string, service: string) {
  const link = linkTo(app, env, 'logs');
  return `${link}${link.includes('?') ? '&' : '?'}service=${encodeURIComponent(service)}`;
}
