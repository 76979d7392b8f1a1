const DURATION = /^(\d+(?:\.\d+)?)(us|ms|s|m|h|d)$/;
const DURATION_MS = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE = /^(\d+(?:\.\d+)?)(B|KB|MB|GB|KiB|MiB|GiB)?$/;
const SIZE_BYTES = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};
/** The longest delay that a timer can hold (2^31 - 1 ms). */
export const MAX_DURATION_MS = 2_147_483_647;

/** `"1.5s"` → 1500; undefined when it is not `<number><us|ms|s|m|h|d>` of at most 24 days. */
export function parseDuration(text: string): number | undefined {
  const match = DURATION.exec(text);
  if (!match) return undefined;
  const ms = Number(match[1]) * DURATION_MS[match[2] as keyof typeof DURATION_MS];
  return ms <= MAX_DURATION_MS ? ms : undefined;
}

/** Milliseconds as the shortest text that `parseDuration` reads back to the same value. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    if (ms >= DURATION_MS[unit] && ms % DURATION_MS[unit] === 0)
      return ms / DURATION_MS[unit] + unit;
  }
  return `${ms}ms`;
}

/** `"16KiB"` → 16384; undefined when it is not `<number>[B|KB|MB|GB|KiB|MiB|GiB]`. */
export function parseSize(text: string): number | undefined {
  const match = SIZE.exec(text);
  if (!match) return undefined;
  const bytes = Number(match[1]) * SIZE_BYTES[(match[2] ?? 'B') as keyof typeof SIZE_BYTES];
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** `"20%"` → 0.2; undefined when it is not `<number>%` from 0 to 100. */
export function parsePercent(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)%$/.exec(text);
  const ratio = match ? Number(match[1]) / 100 : Number.NaN;
  return ratio >= 0 && ratio <= 1 ? ratio : undefined;
}
