// Light or dark as the system prefers, unless the person chose otherwise.
type Choice = 'system' | 'light' | 'dark';
const kKey = 'naru-theme';
const dark = window.matchMedia('(prefers-color-scheme: dark)');

function stored(): Choice {
  try {
    const value = localStorage.getItem(kKey);
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    return 'system';
  }
}

class Theme {
  choice = $state<Choice>(stored());
  systemDark = $state(dark.matches);

  constructor() {
    dark.addEventListener('change', () => {
      this.systemDark = dark.matches;
      this.apply();
    });
    this.apply();
  }
  get isDark() {
    return this.choice === 'system' ? this.systemDark : this.choice === 'dark';
  }
  toggle() {
    const next = this.isDark ? 'light' : 'dark';
    this.choice = next === (this.systemDark ? 'dark' : 'light') ? 'system' : next;
    try {
      if (this.choice === 'system') localStorage.removeItem(kKey);
      else localStorage.setItem(kKey, this.choice);
    } catch {
      // A browser that stores nothing forgets the choice, no more.
    }
    this.apply();
  }
  private apply() {
    document.documentElement.dataset.theme = this.isDark ? 'dark' : 'light';
  }
}
export const theme = new Theme();
