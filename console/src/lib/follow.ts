// A text answer that is streamed until it ends: chunks as they come. Resolves when it has ended.
import { refusal } from './api';

export async function followText(path: string, signal: AbortSignal, onText: (text: string) => void): Promise<void> {
  const response = await fetch(path, { signal });
  if (!response.ok) throw await refusal(response);
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onText(value);
  }
}
