// Short messages, the question before something happens, and which panel is open.
import { ApiError } from './api';

export interface Toast {
  id: number;
  kind: 'good' | 'bad';
  text: string;
  hint: string;
}

export interface Question {
  title: string;
  text: string;
  action: string;
  danger: boolean;
  run: () => Promise<unknown>;
  done: string;
}

const kToastTime = 6_000;
const kMostToasts = 4;

class Ui {
  toasts = $state<Toast[]>([]);
  question = $state<Question | null>(null);
  panel = $state<'' | 'help' | 'search'>('');
  private next = 1;

  say(kind: Toast['kind'], text: string, hint = '') {
    const id = this.next++;
    this.toasts = [...this.toasts.slice(-(kMostToasts - 1)), { id, kind, text, hint }];
    window.setTimeout(() => this.dismiss(id), kind === 'bad' ? kToastTime * 2 : kToastTime);
  }
  complain(error: unknown) {
    if (error instanceof ApiError) this.say('bad', error.message, error.hint);
    else this.say('bad', String(error));
  }
  dismiss(id: number) {
    this.toasts = this.toasts.filter((toast) => toast.id !== id);
  }
  ask(question: Question) {
    this.panel = '';
    this.question = question;
  }
}
export const ui = new Ui();
